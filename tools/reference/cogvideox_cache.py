"""Writes tests/golden/cogvideox-cache: what ParaAttention's First Block Cache decides with the model of tests/golden/cogvideox-video-dpm, and the latents in
the end, in float32 on the CPU.

Needs para-attn (0.3.38, without its dependencies) beside the packages of requirements.txt. video_cache.py says what is written.
"""

import os
import unittest.mock  # ParaAttention's adapters use it and do not import it

from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from cogvideox_pipeline_golden import TEXT, load
from common import GOLDEN
from video_cache import write

STEPS = 14
REQUEST = dict(prompt="a red heart moving left on a white background", negative_prompt="blurred", height=32, width=16, num_frames=9,
               num_inference_steps=STEPS, guidance_scale=2.5, seed=11, max_sequence_length=TEXT)
EMPTY = {k: v for k, v in dict(REQUEST, seed=12).items() if k != "negative_prompt"}
APART = dict(enable_alter_cache=True, num_inference_steps=STEPS)
RUNS = {
    "together": (REQUEST, True, dict(residual_diff_threshold=1.25)),
    "together-high": (REQUEST, True, dict(residual_diff_threshold=1.6)),
    "together-taylorseer": (EMPTY, True, dict(residual_diff_threshold=1.35, warmup_steps=2, enable_taylorseer=True,
                                              taylorseer_kwargs=dict(n_derivatives=1))),
    "apart": (REQUEST, False, dict(residual_diff_threshold=1.3, **APART)),
    "apart-empty": (EMPTY, False, dict(residual_diff_threshold=1.4, alter_residual_diff_threshold=1.2, **APART)),
    "one-half": (dict(EMPTY, guidance_scale=1.0), True, dict(residual_diff_threshold=1.4)),
}

if __name__ == "__main__":
    transformers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    write(os.path.join(GOLDEN, "cogvideox-cache"), load("cogvideox-video-dpm"), RUNS)
