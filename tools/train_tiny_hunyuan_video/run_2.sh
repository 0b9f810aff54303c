#!/bin/bash
# Transformer and text encoders until END seconds, then the export, the measure, the contact sheet and the model card, in about another 60.
# PARTS: where run_1.sh's files lie, if this is another machine. With UNTIL below 1 it ends without the export, for a second call to go on.
TOOL=tools/train_tiny_hunyuan_video NAME=tiny-hunyuan-video
. "$(dirname "$0")/../train_shared/run_common.sh"
END=${END:-490}
UNTIL=${UNTIL:-1} # share of the schedule done when this ends
resume vae.pt
MODEL=$STATE/tiny-hunyuan-video
{
    # DIT_OPTIONS: more for train.py, as --batch 1024 --compile
    # shellcheck disable=SC2086
    train dit --state "$STATE" --minutes "$(minutes_until "$END")" --until "$UNTIL" ${DIT_OPTIONS:-}
    if [ "$UNTIL" = 1 ]; then
        "$PYTHON" $TOOL/export.py --state "$STATE" --folder "$MODEL"
        tar -C "$STATE" -cf "$OUT/tiny-hunyuan-video.tar" tiny-hunyuan-video # at once, should the measure fail
        # MEASURE_OPTIONS: more for measure.py, as --number 10
        # shellcheck disable=SC2086
        "$PYTHON" $TOOL/measure.py --folder "$MODEL" --batch "${MEASURE_BATCH:-25}" --json "$OUT/measured.json" \
            --sheet "$OUT/tiny-hunyuan-video.png" --card ${MEASURE_OPTIONS:-}
        tar -C "$STATE" -cf "$OUT/tiny-hunyuan-video.tar" tiny-hunyuan-video # with the card
    fi
} 2>&1 | tee "$OUT/run_2.log"
failed=${PIPESTATUS[0]}
keep vae.pt dit.pt
exit "$failed"
