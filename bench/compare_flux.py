"""A FLUX denoising step by para and by diffusers, on the same weights file and inputs, sides in turn.

    python3 bench/peers/make_weights.py bench/configs/flux.1-dev /tmp/flux --components transformer
    python3 bench/compare_flux.py /tmp/flux --variants eager-cudnn,eager-flash2,compiled-blocks,max-autotune --accuracy --csv bench/results/flux.csv
    python3 bench/compare_flux.py /tmp/flux --width 1040 --height 976 --text-tokens 300 --variants eager,compiled-blocks --csv bench/results/flux.csv

A step is (preparation + N steps) / N. In each round every side runs all steps once, in random order. Prints medians, ratios and the share of what the machine's
ceilings allow, measured in the same run; appends rows to the CSV. --accuracy compares a prediction of each side with diffusers in float32.
SPDX-License-Identifier: Apache-2.0
"""
import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from para_bench import add_arguments  # noqa: E402
from step_comparison import add_step_arguments, compare  # noqa: E402
from torch_step import VARIANTS  # noqa: E402

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog="variants: " + ", ".join(VARIANTS))
add_arguments(parser, "eager-cudnn,eager-flash2,compiled-blocks,max-autotune", "-flux")
add_step_arguments(parser)
parser.set_defaults(family="flux", model_name="flux.1-dev")
compare(parser.parse_args())
