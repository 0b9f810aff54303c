"""tiny-flux in bfloat16 on a GPU, by para and by diffusers, against para's float32 on the CPU: PSNR of each picture. SPDX-License-Identifier: Apache-2.0

    python3 bench/compare_pictures.py [--para build/release/para] [-n 32]

All start from the same noise (seed i for the i-th prompt). para draws each picture twice, in two processes: they must be equal to the bit.
Needs torch with CUDA, diffusers and safetensors. The last line says whether para's worst picture is no worse than 40 dB, or than 1 dB below diffusers' worst.
"""
import argparse, concurrent.futures, math, os, subprocess, sys, tempfile

import torch
from safetensors.torch import load_file

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
parser = argparse.ArgumentParser()
parser.add_argument("--para", default=os.path.join(ROOT, "build/release/para"))
parser.add_argument("--model", default=os.path.join(ROOT, "models/tiny-flux"))
parser.add_argument("--prompts", default=os.path.join(ROOT, "bench/prompts.txt"))
parser.add_argument("-n", type=int, default=32)
parser.add_argument("--steps", type=int, default=28)
o = parser.parse_args()
prompts = [line.strip() for line in open(o.prompts, encoding="utf-8") if line.strip() and not line.startswith("#")][: o.n]


def draw(folder, i, name, *options):
    path = os.path.join(folder, f"{i}-{name}.safetensors")
    command = [o.para, "generate", o.model, "--prompt", prompts[i], "--seed", str(i), "--steps", str(o.steps), "--quiet", "-o", path, *options]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return load_file(path)["images"][0]


def psnr(a, b):
    mse = ((a.float().clamp(0, 1) - b.float().clamp(0, 1)) ** 2).mean().item()
    return 10 * math.log10(1 / mse) if mse else math.inf


def by_diffusers(i, size):
    """A picture [3, H, W] from the noise that torch.Generator("cpu").manual_seed(i) gives in float32."""
    channels = pipe.transformer.config.in_channels // 4
    side = size // pipe.vae_scale_factor
    noise = torch.randn(1, channels, side, side, generator=torch.Generator("cpu").manual_seed(i))
    latents = pipe._pack_latents(noise, 1, channels, side, side).to("cuda", torch.bfloat16)
    picture = pipe(prompts[i], num_inference_steps=o.steps, height=size, width=size, latents=latents, output_type="pt")
    return picture.images[0].cpu()


with tempfile.TemporaryDirectory() as folder:
    workers = max(1, (os.cpu_count() or 2) // 2)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        truth = list(pool.map(lambda i: draw(folder, i, "cpu", "--threads", "2"), range(len(prompts))))
    size = truth[0].shape[-1]
    first = [draw(folder, i, "gpu", "--device", "cuda", "--dtype", "bf16") for i in range(len(prompts))]
    again = [draw(folder, i, "again", "--device", "cuda", "--dtype", "bf16") for i in range(len(prompts))]
    single = [draw(folder, i, "f32", "--device", "cuda") for i in range(len(prompts))]

from diffusers import FluxPipeline

pipe = FluxPipeline.from_pretrained(o.model, torch_dtype=torch.bfloat16).to("cuda")
pipe.set_progress_bar_config(disable=True)
theirs = [by_diffusers(i, size) for i in range(len(prompts))]

ours, peer = [psnr(a, t) for a, t in zip(first, truth)], [psnr(a, t) for a, t in zip(theirs, truth)]
for i, prompt in enumerate(prompts):
    print(f"{i:3d}  para {ours[i]:6.2f} dB  diffusers {peer[i]:6.2f} dB  para f32 {psnr(single[i], truth[i]):6.2f} dB  {prompt}")
equal = all(torch.equal(a, b) for a, b in zip(first, again))
bound = min(40.0, min(peer) - 1)
print(f"worst: para {min(ours):.2f} dB, diffusers {min(peer):.2f} dB; twice the same bits: {equal}")
print(f"para's worst is {'no worse' if min(ours) >= bound else 'WORSE'} than {bound:.2f} dB")
sys.exit(0 if equal and min(ours) >= bound else 1)
