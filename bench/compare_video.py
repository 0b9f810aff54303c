"""A video transformer's denoising step by para and by diffusers, on the same weights file and inputs, sides in turn.

    python3 bench/peers/make_weights.py bench/configs/hunyuan-video /tmp/hunyuan --components transformer
    python3 bench/compare_video.py --family hunyuan-video /tmp/hunyuan --variants eager,compiled-blocks,eager-cut,compiled-blocks-cut --csv bench/results/video.csv

Families: hunyuan-video, mochi, cogvideox (two calls of classifier-free guidance make a step). Without --width and --height each in its usual size. diffusers is given the
text with its padding and a mask, para the valid tokens; a variant that ends in "-cut" is given no padding and no mask. A step is (preparation + N steps) / N. In each round
every side runs all steps once, in random order. Prints medians and ratios, and on a GPU the share of what its ceilings allow; appends rows to the CSV. --accuracy compares a
prediction of each side with diffusers in float32, of --accuracy-frames if that is dear. SPDX-License-Identifier: Apache-2.0
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from families import FAMILIES  # noqa: E402
from para_bench import add_arguments  # noqa: E402
from step_comparison import add_step_arguments, compare  # noqa: E402
from torch_step import VARIANTS  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog="variants: " + ", ".join(VARIANTS))
parser.add_argument("--family", choices=[name for name in FAMILIES if name != "flux"], required=True)
add_arguments(parser, "eager,compiled-blocks", "-video", steps=4)
add_step_arguments(parser)
parser.add_argument("--name", dest="model_name", help="of the model in rows (the folder's)")
a = parser.parse_args()
a.model_name = a.model_name or a.model.resolve().name
compare(a)
