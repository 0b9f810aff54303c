#!/bin/bash
# The autoencoder. Ends by itself after END seconds, and about 20 for measuring and copying. A second call refines what the first has learnt.
TOOL=tools/train_tiny_hunyuan_video NAME=tiny-hunyuan-video
. "$(dirname "$0")/../train_shared/run_common.sh"
END=${END:-270}
resume vae.pt
{
    nvidia-smi -L || echo "no GPU; this takes hours"
    # VAE_OPTIONS: more for train.py, as --batch 16 --compile
    # shellcheck disable=SC2086
    train vae --state "$STATE" --minutes "$(minutes_until "$END")" ${VAE_OPTIONS:-}
} 2>&1 | tee "$OUT/run_1.log"
failed=${PIPESTATUS[0]}
keep vae.pt
exit "$failed"
