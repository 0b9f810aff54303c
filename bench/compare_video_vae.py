"""The decoder of a video VAE by para and by diffusers, tiled against tiled, on the same weights file and latents, sides in turn.

    python3 bench/peers/make_weights.py bench/configs/hunyuan-video /tmp/hunyuan --components vae
    python3 bench/compare_video_vae.py /tmp/hunyuan --csv bench/results/video_vae.csv

The family is that of the folder's VAE, the size its usual one if --frames, --height and --width are left out. Prints medians, the peak of GPU memory as each program counts it
(weights, and what it takes beside them) and as the driver does (the whole process), and the relative L2 distance of the pixels; --other-tiles also of diffusers with
tiles of another size, which ours would have if they were not diffusers' own. Appends rows to the CSV. SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

PEERS = Path(__file__).parent / "peers"
sys.path.insert(0, str(PEERS))
from para_bench import Served, add_dtype, append, take_turns  # noqa: E402
from torch_step import error  # noqa: E402
from used_memory import UsedMemory  # noqa: E402

# Of each class: para's name, frames, height and width, frames and pixels of a latent.
KINDS = {"AutoencoderKLHunyuanVideo": ("hunyuan", (129, 720, 1280), 4, 8), "AutoencoderKLMochi": ("mochi", (85, 480, 848), 6, 8),
         "AutoencoderKLCogVideoX": ("cogvideox", (49, 480, 720), 4, 8)}


def scales(config, time_scale, space):
    """Frames and pixels of a latent; small models have their own."""
    if config["_class_name"] == "AutoencoderKLCogVideoX":
        return config["temporal_compression_ratio"], 2 ** (len(config["block_out_channels"]) - 1)
    if config["_class_name"] == "AutoencoderKLMochi":
        from math import prod

        return prod(config.get("temporal_expansions", (1, 2, 3))), prod(config.get("spatial_expansions", (2, 2, 2)))
    return config.get("temporal_compression_ratio", time_scale), config.get("spatial_compression_ratio", space)


def draw_latents(a, config, path):
    _, _, time_scale, space = KINDS[config["_class_name"]]
    time_scale, space = scales(config, time_scale, space)
    numbers = torch.Generator("cpu").manual_seed(0)
    size = ((a.frames - 1) // time_scale + 1, a.height // space, a.width // space)
    save_file({"latents": torch.randn(1, config["latent_channels"], *size, generator=numbers).to(getattr(torch, a.dtype))}, path)


def start(a, config, side, work):
    """A side, which has decoded once, its pixels, and what it takes of the GPU, the whole process."""
    video, latents, vae = os.path.join(work, f"{side}.safetensors"), os.path.join(work, "latents.safetensors"), str(a.model / "vae")
    if side == "para":
        words = [a.bench, KINDS[config["_class_name"]][0], str(a.frames), str(a.height), str(a.width), f"vae={vae}", f"latents={latents}", f"video={video}",
                 *(["cpu"] if a.device == "cpu" else []), *(["f32"] if a.dtype == "float32" else [])]
    else:
        words = [sys.executable, str(PEERS / "video_vae_torch.py"), vae, latents, video, a.device, a.dtype, side]
    used = UsedMemory(a.device)
    program = Served(*words)
    program.run()
    return program, load_file(video)["video"], used.most()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder with a vae folder in it")
    parser.add_argument("--bench", default="build/release/bench_video_vae", help="para's side (%(default)s)")
    parser.add_argument("--frames", type=int)
    parser.add_argument("--height", type=int)
    parser.add_argument("--width", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    add_dtype(parser)
    parser.add_argument("--other-tiles", action="store_true", help="also decode with tiles of another size, in diffusers")
    parser.add_argument("--csv", help="file that rows are added to")
    parser.add_argument("--run", default=time.strftime("%Y-%m-%d") + "-video-vae", help="the rows' first column (%(default)s)")
    a = parser.parse_args()
    config = json.loads((a.model / "vae" / "config.json").read_text())
    name, size, *_ = KINDS[config["_class_name"]]
    a.frames, a.height, a.width = (given or usual for given, usual in zip((a.frames, a.height, a.width), size))
    a.case = f"{name}-vae-{a.width}x{a.height}x{a.frames}f"
    return a, config


def main():
    a, config = arguments()
    gib = lambda size: f"{size / 2**30:.2f} GiB"
    with tempfile.TemporaryDirectory() as work:
        draw_latents(a, config, os.path.join(work, "latents.safetensors"))
        programs, pixels, process = {}, {}, {}
        for side in ("para", "tiled", *(["other"] if a.other_tiles else [])):
            programs[side], pixels[side], process[side] = start(a, config, side, work)
            print(f"{side}: ready", flush=True)
    print(f"{a.case}: para against diffusers: relative L2 {error(pixels['para'], pixels['tiled']):.4g}")
    if a.other_tiles:
        print(f"  diffusers with tiles of another size against itself: {error(pixels.pop('other'), pixels['tiled']):.4g}")
        programs.pop("other").close()
    runs = take_turns(programs, a.rounds)
    rows, medians = [], {side: statistics.median(ms for ms, _ in values) for side, values in runs.items()}
    for side, system, variant in (("para", "para", "tiled"), ("tiled", "diffusers", "tiled")):
        programs[side].close()
        times = [ms for ms, _ in runs[side]]
        own = max(size for _, size in runs[side])
        memory = f"; GPU memory {gib(own)}, the whole process {gib(process[side])}" if a.device == "cuda" else ""
        print(f"{a.case} {system} {variant}: {medians[side]:.1f} ms ({min(times):.1f} to {max(times):.1f}), para takes {medians['para'] / medians[side]:.3f} x{memory}", flush=True)
        rows.append((a.case, system, variant, medians[side]))
        if memory:
            rows += [(f"{a.case}-mib", system, variant, own / 2**20), (f"{a.case}-process-mib", system, variant, process[side] / 2**20)]
    append(a.csv, a.run, a.device, rows)


main()
