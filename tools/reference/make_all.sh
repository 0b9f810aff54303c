#!/bin/sh
# Writes all reference data again: tests/golden/flux-*, hunyuan-*, mochi-*, cogvideox-*, video-vae-*, bf16.*, tiny-flux and tiny-hunyuan-video, tests/data, the vectors of tests/parallel. Half an hour on two cores.
# What a GPU draws (rng_cuda.py) is not among it.
# usage: tools/reference/make_all.sh [python]
set -eu
cd "$(dirname "$0")"
python=${1:-python3}
for script in flux_golden hunyuan_video_golden mochi_golden cogvideox_golden video_vae_golden bf16_golden tiny_flux tiny_hunyuan_video rng_cpu scheduler_vectors cogvideox_scheduler_vectors cogvideox_positions dtype_vectors attention_vectors quality_vectors tokenizer_train tokenizer_strings llama_tokenizer llama_golden hunyuan_pipeline_golden mochi_pipeline_golden cogvideox_pipeline_golden; do
    echo "== $script"
    "$python" "$script.py"
done
for folder in clip t5 llama; do
    "$python" tokenizer_vectors.py "../../tests/data/tokenizer-$folder"
done
"$python" tokenizer_vectors.py ../../models/tiny-flux/tokenizer ../../tests/data/tokenizer_tiny_flux_clip.jsonl
"$python" tokenizer_vectors.py ../../models/tiny-flux/tokenizer_2 ../../tests/data/tokenizer_tiny_flux_t5.jsonl
"$python" charsmap_vectors.py
"$python" check_weights.py
"$python" check_hunyuan_video.py
"$python" check_mochi.py
"$python" check_cogvideox.py
