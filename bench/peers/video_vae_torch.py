"""Times the decoders of diffusers' video VAEs at their default configs with random weights in bfloat16 on a GPU, tiled as enable_tiling() tiles, and says what
memory they take: what bench/bench_video_vae.c times of para. SPDX-License-Identifier: Apache-2.0

usage: video_vae_torch.py [hunyuan|mochi|cogvideox] [--whole]
"""

import sys
import time

import torch
from diffusers import AutoencoderKLCogVideoX, AutoencoderKLHunyuanVideo, AutoencoderKLMochi

KINDS = {"hunyuan": (AutoencoderKLHunyuanVideo, 16, (33, 90, 160)), "mochi": (AutoencoderKLMochi, 12, (15, 60, 106)),
         "cogvideox": (AutoencoderKLCogVideoX, 16, (13, 60, 90))}
ROUNDS = 3


@torch.no_grad()
def main(words):
    for name, (cls, channels, size) in KINDS.items():
        if any(w in KINDS for w in words) and name not in words:
            continue
        torch.manual_seed(0)
        with torch.device("cuda"):
            vae = cls().to(torch.bfloat16).eval()
        if "--whole" not in words:
            vae.enable_tiling()
        latents = torch.rand(1, channels, *size, device="cuda", dtype=torch.bfloat16) * 2 - 1
        vae.decode(latents)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before, seconds = torch.cuda.memory_allocated(), []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            vae.decode(latents)
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        print(f"{name:10s} diffusers decode {sorted(seconds)[ROUNDS // 2]:.3f} s ({min(seconds):.3f} to {max(seconds):.3f}), "
              f"{(torch.cuda.max_memory_allocated() - before) / 2**30:.2f} GiB beside weights and latents", flush=True)
        del vae, latents
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main(sys.argv[1:])
