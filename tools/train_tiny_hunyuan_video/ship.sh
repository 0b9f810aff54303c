#!/bin/sh
# Puts a trained model into the tree, with all that is made from it: the model, its card and contact sheet, the reference's videos, the cache's table.
# usage: ship.sh FOLDER
# FOLDER holds what run_2.sh left: tiny-hunyuan-video/, tiny-hunyuan-video.png. From the repository's root, where `make` has built para, 10 minutes
# on two cores. PARA: another para; PYTHON: interpreter with torch, transformers, diffusers; MEASURE_OPTIONS="--number 7" and another PROMPTS make a
# quick trial. Nothing is committed.
set -eu
[ $# -eq 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
cd "$(dirname "$0")/../.."
from=$1
para=${PARA:-build/release/para}
python=${PYTHON:-python3}
prompts=${PROMPTS:-bench/prompts-video.txt}
tool=tools/train_tiny_hunyuan_video
model=models/tiny-hunyuan-video
golden=tests/golden/tiny-hunyuan-video
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for needed in "$from/tiny-hunyuan-video/model_index.json" "$from/tiny-hunyuan-video.png" "$para"; do
    [ -e "$needed" ] || { echo "$0: there is no $needed" >&2; exit 1; }
done
[ -e tools/train_shared/cache/emoji.npz ] || "$python" tools/train_shared/emoji.py

echo "== the model"
rm -rf "$model"
cp -R "$from/tiny-hunyuan-video" "$model"
cp "$from/tiny-hunyuan-video.png" docs/tiny-hunyuan-video.png
find "$model" docs/tiny-hunyuan-video.png -type f -exec chmod 644 {} +
"$python" $tool/own_size.py "$model"

echo "== diffusers' videos, and para's beside them"
rm -rf "$golden"
"$python" tools/reference/tiny_hunyuan_video.py
"$python" tools/reference/tiny_hunyuan_video.py --para "$para"

echo "== what para draws on the held-out combinations"
# shellcheck disable=SC2086 # options are words
"$python" $tool/measure.py --para "$para" --json "$scratch/measured.json" --card ${MEASURE_OPTIONS:-} >"$scratch/measure.log" 2>&1 ||
    { cat "$scratch/measure.log"; exit 1; }

echo "== the cache"
"$para" bench cache "$model" --prompts "$prompts" --steps 20 --taylorseer 0,1 --thresholds 0.05,0.1,0.2,0.3,0.4 --quiet -o "$scratch/cache"
cp "$scratch/cache/cache.csv" bench/results/cache_video.csv
"$python" bench/cache_table.py bench/results/cache_video.csv docs/cache.md "### A video"

echo "== look at docs/tiny-hunyuan-video.png, $golden/*.png, the table in docs/cache.md, $model/README.md:"
grep '^|.* %' "$model/README.md"
du -sk "$model" "$golden" docs/tiny-hunyuan-video.png
"$python" - "$scratch/measured.json" <<'PYTHON'
import json, sys
result = json.load(open(sys.argv[1]))
drawn, true, shuffled = (result[key]["motion"] for key in ("drawn", "true", "shuffled"))
print(f"motion: {drawn:g} % right (90 are wanted), {true:g} % of true videos (99), {shuffled:g} % with captions shuffled (chance is 14)")
sys.exit(drawn < 90 or true < 99 or shuffled > 25)
PYTHON
