#!/bin/bash
# Measures what run_2.sh exported, draws the contact sheet and fills the model card.
TOOL=tools/train_tiny_flux NAME=tiny-flux
. "$(dirname "$0")/../train_shared/run_common.sh"
"$PYTHON" $TOOL/measure.py --folder "$STATE/tiny-flux" --batch 50 --counts 2 3 --json "$OUT/measured.json" \
    --sheet "$OUT/tiny-flux.png" --card 2>&1 | tee "$OUT/run_3.log"
[ "${PIPESTATUS[0]}" = 0 ]
tar -C "$STATE" -cf "$OUT/tiny-flux.tar" tiny-flux
