#!/bin/bash
# The rest of the transformer's schedule, then the export. PARTS: where run_1.sh's files lie, if this is another machine.
TOOL=tools/train_tiny_flux NAME=tiny-flux
. "$(dirname "$0")/../train_shared/run_common.sh"
END=${END:-540}
resume dit.pt
{
    train dit --state "$STATE" --minutes "$(minutes_until "$END")"
    "$PYTHON" $TOOL/export.py --state "$STATE" --folder "$STATE/tiny-flux"
} 2>&1 | tee "$OUT/run_2.log"
failed=${PIPESTATUS[0]}
if [ "$failed" = 0 ]; then tar -C "$STATE" -cf "$OUT/tiny-flux.tar" tiny-flux; fi
keep vae.pt dit.pt
exit "$failed"
