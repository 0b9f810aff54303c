"""diffusers' decoder of a video VAE, tiled as enable_tiling() tiles: one side of bench/compare_video_vae.py.

    video_vae_torch.py FOLDER LATENTS VIDEO DEVICE DTYPE tiled|other|whole

Decodes `latents`, saves `video`, [frames, height, width, 3], says "ready", and for each line of standard input times another decode: its milliseconds, and the bytes of
weights and of what it took beside them. other: tiles of another size, which shows what a difference in tiling makes. SPDX-License-Identifier: Apache-2.0
"""
import json
import sys
import time
from pathlib import Path

import diffusers
import torch
from safetensors.torch import load_file, save_file


def load(folder, device, dtype, tiling):
    name = json.loads((Path(folder) / "config.json").read_text())["_class_name"]
    # The small models of the tests have no encoder; what is missing is drawn anew, and not used.
    vae = getattr(diffusers, name).from_pretrained(folder, torch_dtype=dtype, low_cpu_mem_usage=False).to(device).eval().requires_grad_(False)
    if tiling != "whole":
        vae.enable_tiling()
    if tiling == "other":
        for key in ("tile_sample_min_height", "tile_sample_min_width", "tile_latent_min_height", "tile_latent_min_width"):
            if hasattr(vae, key):
                setattr(vae, key, getattr(vae, key) // 4 * 3)
        for key in ("tile_sample_stride_height", "tile_sample_stride_width"):
            if hasattr(vae, key):
                setattr(vae, key, getattr(vae, key) // 3 * 2)
    return vae


@torch.no_grad()
def main(folder, latents, video, device, dtype, tiling):
    torch.set_grad_enabled(False)
    cuda = device == "cuda"
    vae = load(folder, device, getattr(torch, dtype), tiling)
    x = load_file(latents)["latents"].to(device, getattr(torch, dtype))
    image = vae.decode(x, return_dict=False)[0]
    save_file({"video": image[0].permute(1, 2, 3, 0).contiguous().cpu()}, video)
    del image
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        vae.decode(x, return_dict=False)
        if cuda:
            torch.cuda.synchronize()
        print(f"{1e3 * (time.perf_counter() - start):.5f} {torch.cuda.max_memory_allocated() if cuda else 0}", flush=True)


main(*sys.argv[1:])
