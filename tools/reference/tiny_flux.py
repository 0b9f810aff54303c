"""Writes tests/golden/tiny-flux: what diffusers' FluxPipeline draws with models/tiny-flux, in float32 on the CPU.

case.json: the requests and, for each, the reference's own spread in float32 (default against math attention, 2 threads
against 1): relative L2 of the final latents and largest difference of the 8-bit pictures. NAME.png: the picture as
diffusers saves it. latents.safetensors: `NAME`, the final packed latents [1, tokens, channels], F32.
"""

import contextlib
import os

import numpy
import torch
from diffusers.utils import logging as diffusers_logging
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers.utils import logging as transformers_logging

from common import GOLDEN, ROOT, folder_bytes, rel_l2, write_json, write_safetensors
from flux_run import load, pipe_arguments

FOLDER = os.path.join(GOLDEN, "tiny-flux")
BASE = dict(prompt_2=None, negative_prompt=None, true_cfg_scale=1.0, height=256, width=256, num_inference_steps=20,
            guidance_scale=3.5, seed=7, num_images=1, max_sequence_length=512, vae_tiling=False)
REQUESTS = {
    "heart": dict(BASE, prompt="a red heart on a blue background"),
    "crabs": dict(BASE, prompt="three small crabs on a turquoise background", negative_prompt="a pink background, large",
                  true_cfg_scale=1.5, num_inference_steps=8, max_sequence_length=64),
}


@torch.no_grad()
def draw(pipe, request, math=False, threads=2):
    """The picture as PIL has it and the final packed latents."""
    kept = {}

    def step_end(p, i, t, kw):
        kept["latents"] = kw["latents"].float().clone()
        return kw

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    with sdpa_kernel(SDPBackend.MATH) if math else contextlib.nullcontext():
        picture = pipe(**pipe_arguments(request), callback_on_step_end=step_end).images[0]
    torch.set_num_threads(before)
    return picture, kept["latents"]


def largest_difference(a, b):
    return int(numpy.abs(numpy.asarray(a).astype(int) - numpy.asarray(b).astype(int)).max())


def main():
    transformers_logging.disable_progress_bar()
    diffusers_logging.disable_progress_bar()
    pipe = load(os.path.join(ROOT, "models", "tiny-flux"))
    cases, finals = {}, {}
    os.makedirs(FOLDER, exist_ok=True)
    for name, request in REQUESTS.items():
        picture, finals[name] = draw(pipe, request)
        others = [draw(pipe, request, math=True), draw(pipe, request, threads=1)]
        spread = {"latents": max(rel_l2(latents, finals[name]) for _, latents in others),
                  "picture": max(largest_difference(p, picture) for p, _ in others)}
        picture.save(os.path.join(FOLDER, name + ".png"), optimize=True)
        cases[name] = dict(request, spread=spread)
        print(name, spread, flush=True)
    write_safetensors(os.path.join(FOLDER, "latents.safetensors"), finals)
    write_json(os.path.join(FOLDER, "case.json"), cases)
    print(f"{folder_bytes(FOLDER) / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
