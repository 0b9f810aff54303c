#!/bin/bash
# The autoencoder, then the first part of the transformer's schedule. Ends within END seconds, and about 15 for copying.
TOOL=tools/train_tiny_flux NAME=tiny-flux
. "$(dirname "$0")/../train_shared/run_common.sh"
END=${END:-560}
VAE_MINUTES=${VAE_MINUTES:-3}
UNTIL=${UNTIL:-0.36} # share of the transformer's schedule done here; run_2.sh does the rest
{
    nvidia-smi -L
    [ -f "$STATE/vae.pt" ] || train vae --state "$STATE" --minutes "$VAE_MINUTES"
    if [ "${PROBE:-0}" = 1 ]; then # which learning rate? one GPU each, on a part of the data
        gpu=0
        for lr in 0.001 0.002 0.003 0.005; do
            CUDA_VISIBLE_DEVICES=$((gpu++ % GPUS)) "$PYTHON" $TOOL/train.py probe --state "$STATE" --lr $lr --minutes 2 \
                --limit 20000 --phrasings 2 &
        done
        wait
    fi
    train dit --state "$STATE" --minutes "$(minutes_until "$END")" --until "$UNTIL"
} 2>&1 | tee "$OUT/run_1.log"
failed=${PIPESTATUS[0]}
keep vae.pt dit.pt
exit "$failed"
