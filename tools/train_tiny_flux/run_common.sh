# Sourced by run_*.sh, which are run from the repository's root on a machine with NVIDIA GPUs.
# PYTHON: interpreter with torch, transformers, diffusers, sentencepiece; STATE: what is learnt so far; OUT: what travels back.
set -eu
PYTHON=${PYTHON:-python3}
STATE=${STATE:-/tmp/tf}
: "${OUT:?set OUT to the folder whose files come back}"
TOOL=tools/train_tiny_flux
GPUS=${GPUS:-$("$PYTHON" -c 'import torch; print(torch.cuda.device_count())')}
export OMP_NUM_THREADS=4 TOKENIZERS_PARALLELISM=true
mkdir -p "$STATE" "$OUT"
if [ ! -d $TOOL/cache/tokenizers ]; then "$PYTHON" $TOOL/make_tokenizers.py; fi
if [ ! -f $TOOL/cache/emoji.npz ]; then "$PYTHON" $TOOL/emoji.py; fi

on_all_gpus() { "$PYTHON" -m torch.distributed.run --standalone --nproc_per_node="$GPUS" $TOOL/train.py "$@"; }

# minutes_until SECOND: minutes from now until this script has run for SECOND seconds
minutes_until() { awk "BEGIN { print ($1 - $SECONDS) / 60 }"; }
