"""Writes tests/golden/mochi-cache: what ParaAttention's First Block Cache decides with the model of tests/golden/mochi-video, and the latents in the end,
in float32 on the CPU.

Needs para-attn (0.3.38, without its dependencies) beside the packages of requirements.txt. Its adapter for Mochi's pipeline passes its context wrongly; that of
the transformer, inside a context made here, is what runs.

video_cache.py says what is written.
"""

import os
import unittest.mock  # ParaAttention's adapters use it and do not import it

import torch
from diffusers import AutoencoderKLMochi, MochiTransformer3DModel
from diffusers.utils import logging as diffusers_logging
from transformers import T5EncoderModel
from transformers.utils import logging as transformers_logging

from common import GOLDEN
from mochi_pipeline_golden import MODEL, assemble
from video_cache import write

FOLDER = os.path.join(GOLDEN, "mochi-cache")
STEPS = 14
REQUEST = dict(prompt="a red heart moving left on a white background", negative_prompt="blurred", height=32, width=48, num_frames=7,
               num_inference_steps=STEPS, guidance_scale=2.5, seed=11, max_sequence_length=24)
EMPTY = {k: v for k, v in dict(REQUEST, seed=12).items() if k != "negative_prompt"}
APART = dict(enable_alter_cache=True, num_inference_steps=STEPS)
TAYLOR = dict(enable_taylorseer=True, taylorseer_kwargs=dict(n_derivatives=1))
RUNS = {
    "together": (REQUEST, True, dict(residual_diff_threshold=0.7)),
    "together-high": (REQUEST, True, dict(residual_diff_threshold=0.95)),
    "together-empty": (EMPTY, True, dict(residual_diff_threshold=0.85, warmup_steps=3)),
    "together-taylorseer": (REQUEST, True, dict(residual_diff_threshold=0.8, **TAYLOR)),
    "apart": (REQUEST, False, dict(residual_diff_threshold=0.8, **APART)),
    "apart-empty": (EMPTY, False, dict(residual_diff_threshold=0.9, alter_residual_diff_threshold=0.7, **APART)),
}


def load():
    part = lambda cls, name: cls.from_pretrained(os.path.join(MODEL, name), torch_dtype=torch.float32).eval()
    vae = AutoencoderKLMochi.from_config(AutoencoderKLMochi.load_config(os.path.join(MODEL, "vae")))  # decodes nothing here
    return assemble(dict(transformer=part(MochiTransformer3DModel, "transformer"), vae=vae,
                         text_encoder=part(T5EncoderModel, "text_encoder")))


if __name__ == "__main__":
    transformers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    write(FOLDER, load(), RUNS)
