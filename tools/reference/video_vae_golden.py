"""Writes tests/golden/video-vae-*: VAEs of videos with redrawn weights, reference.safetensors and case.json.

usage: video_vae_golden.py [--check] [CONFIG ...]

--check: writes nothing, shows that the weights show errors.
"""

import copy
import os
import shutil
import sys

import diffusers
import torch
from diffusers.utils import logging as diffusers_logging

from common import GOLDEN, folder_bytes, rel_l2, write_json, write_safetensors, write_weights
from flux_weights import redraw, stored
from video_vae_configs import CONFIGS


def golden_folder(name):
    return os.path.join(GOLDEN, name)


def load(name, dtype=torch.float32):
    cls = getattr(diffusers, CONFIGS[name]["cls"])
    return cls.from_pretrained(os.path.join(golden_folder(name), "vae"), torch_dtype=dtype).eval()


def chosen(vae, run):
    """The VAE with a run's tiles: enable_tiling sets them, and use_tiling says whether they count in space."""
    if run.get("tiles"):
        vae.enable_tiling(**run["tiles"])
    vae.use_tiling = run.get("tiling", False)
    vae.use_slicing = True  # a video at a time, as everywhere here
    return vae


def latents_of(name, run_name):
    config = CONFIGS[name]
    rng = torch.Generator("cpu").manual_seed(config["seed"] + 1000 + sum(map(ord, run_name)))
    n, *size = config["decode"][run_name]["latents"]
    return torch.randn(n, config["vae"]["latent_channels"], *size, generator=rng)


@torch.no_grad()
def run(name, vaes=load, threads=2, videos=None, encode=True):
    """Every result of a config: decode.NAME, encode.NAME.mean, encode.NAME.logvar. videos: those that are encoded."""
    config, before, out = CONFIGS[name], torch.get_num_threads(), {}
    torch.set_num_threads(threads)
    for run_name, r in config["decode"].items():
        vae = chosen(vaes(name), r)
        out[f"decode.{run_name}"] = vae.decode(latents_of(name, run_name).to(vae.dtype), return_dict=False)[0].float()
    for run_name, r in config["encode"].items() if encode else ():
        frames, height, width = r["cut"]
        video = (videos or out)[f"decode.{r['video']}"][:, :, :frames, :height, :width]
        moments = chosen(vaes(name), r).encode(video, return_dict=False)[0].parameters
        # DiagonalGaussianDistribution clamps the log variances
        out[f"encode.{run_name}.mean"], logvar = moments.chunk(2, dim=1)
        out[f"encode.{run_name}.logvar"] = logvar.clamp(-30, 20)
    torch.set_num_threads(before)
    return out


@torch.no_grad()
def save(name, vae):
    config, folder = CONFIGS[name], os.path.join(golden_folder(name), "vae")
    shutil.rmtree(folder, ignore_errors=True)
    vae.save_config(folder)
    write_weights(folder, "diffusion_pytorch_model", stored(vae, config["storage"], config["bits"]), 1)


@torch.no_grad()
def build(name):
    """Redrawn, with the decoder's last layer scaled until pixels spread over most of -1..1."""
    config = CONFIGS[name]
    vae = getattr(diffusers, config["cls"])(**config["vae"]).eval()
    redraw("video_vae", vae, torch.Generator("cpu").manual_seed(config["seed"]))
    last = getattr(vae.decoder, "conv_out", None) or vae.decoder.proj_out
    last = last if hasattr(last, "weight") else last.conv
    for _ in range(3):
        save(name, vae)
        pixels = torch.cat([v.movedim(1, 0).flatten(1) for k, v in run(name).items() if k.startswith("decode")], 1)
        reach = pixels.abs().amax(1)
        last.weight.mul_((0.9 / reach).view(-1, *[1] * (last.weight.dim() - 1)))
        last.bias.mul_(0.9 / reach)
    save(name, vae)


@torch.no_grad()
def smallest_change(name, base):
    """The least that any tensor, changed by 10 % (noise, and as a scale), moves one of the results, and whose it is."""
    least, whole = (1.0, ""), load(name)
    for key in whole.state_dict():
        if key.endswith("to_k.bias"):  # moves all scores of a query alike
            continue
        unit = "Mochi" in CONFIGS[name]["cls"] and ("to_q" in key or "to_k" in key)  # what has length 1 has no scale
        for scale in (False,) if unit else (False, True):
            def changed(n):
                vae = copy.deepcopy(whole)
                p = vae.state_dict()[key]
                noise = torch.randn(p.shape, generator=torch.Generator("cpu").manual_seed(1)) * p.std().nan_to_num(1.0)
                p.copy_(p * 1.1 if scale else p + 0.1 * noise)
                return vae
            moved = run(name, changed, threads=1, videos=base)
            least = min(least, (max(rel_l2(moved[k], base[k]) for k in base), key))
    return least


def check(names):
    for name in names:
        change, of = smallest_change(name, run(name, threads=1))
        print(f"{name}: a tensor changed by 10 % moves a result by {change:.1e} or more ({of})", flush=True)


def main(names):
    for name in names:
        config = CONFIGS[name]
        shutil.rmtree(golden_folder(name), ignore_errors=True)
        build(name)
        base = run(name)
        again = run(name, threads=1, videos=base)
        half = run(name, lambda n: load(n, torch.bfloat16), encode=False)
        spread = {k: rel_l2(again[k], base[k]) for k in base}
        for k, v in base.items():
            assert torch.isfinite(v).all(), k
        kept = dict(base)
        for run_name in config["decode"]:
            kept[f"latents.{run_name}"] = latents_of(name, run_name)
        write_safetensors(os.path.join(golden_folder(name), "reference.safetensors"), kept)
        case = {"about": config["about"], "class": config["cls"], "decode": config["decode"], "encode": config["encode"], "spread": spread,
                "bf16": {k: rel_l2(half[k], base[k]) for k in half}}
        write_json(os.path.join(golden_folder(name), "case.json"), case)
        print(f"{name}: {folder_bytes(golden_folder(name)) / 1024:.0f} KiB")
        for k, v in base.items():
            print(f"  {k:26s} {str(list(v.shape)):22s} rms {v.pow(2).mean().sqrt():7.3f} largest {v.abs().max():7.3f} "
                  f"spread {spread[k]:.1e}", flush=True)


if __name__ == "__main__":
    diffusers_logging.disable_progress_bar()
    wanted = [a for a in sys.argv[1:] if a != "--check"] or list(CONFIGS)
    check(wanted) if "--check" in sys.argv else main(wanted)
