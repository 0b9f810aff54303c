"""Writes tests/golden/tiny-hunyuan-video: what diffusers' HunyuanVideoPipeline draws with models/tiny-hunyuan-video, in float32 on the CPU; or, with
--para, compares with it what the program draws.

case.json: the requests and, for each, the reference's own spread in float32 (default against math attention, 2 threads against 1): relative L2
of the final latents and largest difference of the 8-bit frames. NAME.png: the frames as 8 bits, one below the other [frames * height, width, 3].
latents.safetensors: `NAME`, the final latents [1, channels, f, h, w], F32.

usage: tiny_hunyuan_video.py [--model FOLDER] [--para PROGRAM]
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile

import numpy
import torch
from diffusers import HunyuanVideoPipeline
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from safetensors.torch import load_file
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers.utils import logging as transformers_logging

from common import GOLDEN, ROOT, folder_bytes, rel_l2, write_json, write_safetensors

FOLDER = os.path.join(GOLDEN, "tiny-hunyuan-video")
BOUND = 2  # of 255
BASE = dict(prompt_2=None, negative_prompt=None, true_cfg_scale=1.0, height=128, width=128, num_frames=17, num_inference_steps=20,
            guidance_scale=6.0, seed=7, num_images=1, max_sequence_length=256, vae_tiling=False)
REQUESTS = {
    "heart": dict(BASE, prompt="a red heart moving left on a white background"),
    "fox": dict(BASE, prompt="The fox spinning in front of a teal background.", num_frames=13, num_inference_steps=6, guidance_scale=2.0, seed=1),
}


def load(model):
    pipe = HunyuanVideoPipeline.from_pretrained(model, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
def draw(pipe, request, math=False, threads=2):
    """The frames as 8 bits [f, h, w, 3], rounded as diffusers' PIL images are, and the final latents."""
    kept = {}

    def step_end(p, i, t, kw):
        kept["latents"] = kw["latents"].float().clone()
        return kw

    names = ("prompt", "height", "width", "num_frames", "num_inference_steps", "guidance_scale", "max_sequence_length")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    with sdpa_kernel(SDPBackend.MATH) if math else contextlib.nullcontext():
        frames = pipe(**{name: request[name] for name in names}, output_type="np", callback_on_step_end=step_end,
                      generator=torch.Generator("cpu").manual_seed(request["seed"])).frames[0]
    torch.set_num_threads(before)
    return (frames * 255).round().astype(numpy.uint8), kept["latents"]


def draw_by_program(para, model, request):
    """The frames as 8 bits [f, h, w, 3]."""
    with tempfile.TemporaryDirectory() as scratch:
        out = os.path.join(scratch, "video.safetensors")
        subprocess.run([para, "generate", model, "--prompt", request["prompt"], "--seed", str(request["seed"]), "--frames", str(request["num_frames"]),
                        "--width", str(request["width"]), "--height", str(request["height"]), "--steps", str(request["num_inference_steps"]),
                        "--guidance", str(request["guidance_scale"]), "--max-sequence-length", str(request["max_sequence_length"]),
                        "--quiet", "-o", out], check=True)
        frames = load_file(out)["frames"][0].clamp(0, 1)  # [f, 3, h, w]
    return (frames.permute(0, 2, 3, 1).numpy() * 255).round().astype(numpy.uint8)


def largest_difference(a, b):
    return int(numpy.abs(a.astype(int) - b.astype(int)).max())


def compare(para, model):
    pipe, failed = load(model), 0
    for name, request in REQUESTS.items():
        want, _ = draw(pipe, request)
        got = draw_by_program(para, model, request)
        largest = largest_difference(got, want)
        failed += largest > BOUND
        print(f"{name}: {list(want.shape)}, largest difference {largest} of 255 (bound {BOUND}), {(got != want).sum()} of {want.size} values differ, "
              f"spread of the values {want.std():.1f}", flush=True)
    return failed


def write(model):
    pipe = load(model)
    cases, finals = {}, {}
    os.makedirs(FOLDER, exist_ok=True)
    for name, request in REQUESTS.items():
        frames, finals[name] = draw(pipe, request)
        others = [draw(pipe, request, math=True), draw(pipe, request, threads=1)]
        spread = {"latents": max(rel_l2(latents, finals[name]) for _, latents in others),
                  "frames": max(largest_difference(f, frames) for f, _ in others)}
        Image.fromarray(frames.reshape(-1, request["width"], 3)).save(os.path.join(FOLDER, name + ".png"), optimize=True)
        cases[name] = dict(request, spread=spread)
        print(name, spread, flush=True)
    write_safetensors(os.path.join(FOLDER, "latents.safetensors"), finals)
    write_json(os.path.join(FOLDER, "case.json"), cases)
    print(f"{folder_bytes(FOLDER) / 1024:.0f} KiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=os.path.join(ROOT, "models", "tiny-hunyuan-video"))
    parser.add_argument("--para", help="compare with this program's videos, and write nothing")
    options = parser.parse_args()
    transformers_logging.disable_progress_bar()
    diffusers_logging.disable_progress_bar()
    return compare(options.para, options.model) if options.para else write(options.model)


if __name__ == "__main__":
    sys.exit(main())
