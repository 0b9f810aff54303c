#!/bin/bash
# The rest of the transformer's schedule, then the export. PARTS: where run_1.sh's files lie, if this is another machine.
. "$(dirname "$0")/run_common.sh"
END=${END:-540}
[ -f "$STATE/dit.pt" ] || [ -z "${PARTS:-}" ] || "$PYTHON" $TOOL/run_state.py join "$PARTS" "$STATE"
{
    on_all_gpus dit --state "$STATE" --minutes "$(minutes_until "$END")"
    "$PYTHON" $TOOL/export.py --state "$STATE" --folder "$STATE/tiny-flux"
} 2>&1 | tee "$OUT/run_2.log"
failed=${PIPESTATUS[0]}
if [ "$failed" = 0 ]; then tar -C "$STATE" -cf "$OUT/tiny-flux.tar" tiny-flux; fi
for kept in vae.pt dit.pt; do
    if [ -f "$STATE/$kept" ]; then "$PYTHON" $TOOL/run_state.py split "$OUT" "$STATE/$kept"; fi
done
exit "$failed"
