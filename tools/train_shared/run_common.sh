# Sourced by the tools' run_*.sh, which are run from the repository's root on a machine with NVIDIA GPUs, and set TOOL and NAME.
# PYTHON: interpreter with torch, transformers, diffusers; STATE: what is learnt so far; OUT: what travels back.
set -eu
PYTHON=${PYTHON:-python3}
STATE=${STATE:-/tmp/$NAME}
: "${OUT:?set OUT to the folder whose files come back}"
GPUS=${GPUS:-$("$PYTHON" -c 'import torch; print(torch.cuda.device_count())')}
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-4} TOKENIZERS_PARALLELISM=true
mkdir -p "$STATE" "$OUT"
if [ ! -d $TOOL/cache/tokenizers ]; then "$PYTHON" $TOOL/make_tokenizers.py; fi
if [ ! -f tools/train_shared/cache/emoji.npz ]; then "$PYTHON" tools/train_shared/emoji.py; fi

# train STAGE OPTION ...: on all GPUs; without any, on the CPU
train() {
    if [ "$GPUS" -gt 1 ]; then
        "$PYTHON" -m torch.distributed.run --standalone --nproc_per_node="$GPUS" $TOOL/train.py "$@"
    else
        "$PYTHON" $TOOL/train.py "$@"
    fi
}

# minutes_until SECOND: minutes from now until this script has run for SECOND seconds
minutes_until() { awk "BEGIN { print ($1 - $SECONDS) / 60 }"; }

# keep FILE ...: copies what is learnt, where there is some, into OUT in parts that are small enough to travel
keep() {
    for kept in "$@"; do
        if [ -f "$STATE/$kept" ]; then "$PYTHON" tools/train_shared/run_state.py split "$OUT" "$STATE/$kept"; fi
    done
}

# resume FILE: takes it up from PARTS, where an earlier command's files lie, if this is another machine
resume() {
    if [ ! -f "$STATE/$1" ] && [ -n "${PARTS:-}" ]; then "$PYTHON" tools/train_shared/run_state.py join "$PARTS" "$STATE"; fi
}
