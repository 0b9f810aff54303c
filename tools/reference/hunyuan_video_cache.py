"""Writes tests/golden/cache-hunyuan: what ParaAttention's First Block Cache decides with the HunyuanVideo pipeline of tests/golden/hunyuan-video, and the
latents that come out, in float32 on the CPU.

Needs the environment of requirements_cache.txt with diffusers 0.32.2, whose transformer is the one that ParaAttention's adapter calls.

case.json as first_block_cache.py writes it; latents.safetensors: those after the last step of each run, [4, f, h, w].
"""

import json
import os

import torch
from diffusers import HunyuanVideoPipeline
from diffusers.utils import logging as diffusers_logging
from para_attn.first_block_cache import utils
from para_attn.first_block_cache.diffusers_adapters import apply_cache_on_transformer
from transformers import PreTrainedTokenizerFast

from common import GOLDEN, write_safetensors
from first_block_cache import MARGIN, calls, margin, record

MODEL = os.path.join(GOLDEN, "hunyuan-video")
FOLDER = os.path.join(GOLDEN, "cache-hunyuan")
BASE = dict(height=32, width=48, num_frames=9, num_inference_steps=18, guidance_scale=6.0, max_sequence_length=24, seed=7)
RUNS = {
    "low": (dict(prompt="a red heart moving left"), dict(residual_diff_threshold=0.8)),
    "middle": (dict(prompt="a red heart moving left"), dict(residual_diff_threshold=0.95)),
    "high": (dict(prompt="a red heart moving left"), dict(residual_diff_threshold=1.2)),
    "other": (dict(prompt="two yellow stars spin", seed=3, guidance_scale=1.5), dict(residual_diff_threshold=0.95)),
    "warmup": (dict(prompt="a blue umbrella"), dict(residual_diff_threshold=1.0, warmup_steps=6)),
    "downsample": (dict(prompt="a blue umbrella", num_frames=5), dict(residual_diff_threshold=1.0, downsample_factor=3)),
    "taylorseer": (dict(prompt="a blue umbrella", seed=1), dict(residual_diff_threshold=1.0, enable_taylorseer=True,
                                                                taylorseer_kwargs=dict(n_derivatives=1))),
}


@torch.no_grad()
def film(pipe, request, options):
    calls.clear()
    with utils.cache_context(utils.create_cache_context(**options)):
        kw = {k: v for k, v in request.items() if k != "seed"}
        out = pipe(**kw, output_type="latent", generator=torch.Generator("cpu").manual_seed(request["seed"]))
    return out.frames[0].float(), [d for d, _ in calls], [bool(h) for _, h in calls]


def away_from_doubt(pipe, request, options):
    """Runs it, with the threshold raised until every decision is clear."""
    while True:
        latents, d, hits = film(pipe, request, options)
        if margin(options, d) >= MARGIN:
            return latents, dict(request=request, options=options, margin=float(f"{margin(options, d):.2g}"), hit=[int(h) for h in hits],
                                 d=[d if d is None else float(f"{d:.7g}") for d in d])
        options = dict(options, residual_diff_threshold=round(options["residual_diff_threshold"] * 1.004, 6))


def main():
    diffusers_logging.disable_progress_bar()
    torch.set_num_threads(2)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(os.path.join(MODEL, "tokenizer"))
    pipe = HunyuanVideoPipeline.from_pretrained(MODEL, tokenizer=tokenizer, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    apply_cache_on_transformer(pipe.transformer)
    record()
    runs, latents = [], {}
    for name, (request, options) in RUNS.items():
        latents[name], run = away_from_doubt(pipe, dict(BASE, **request), options)
        runs.append(dict(name=name, **run))
        print(f"{name:14} {sum(run['hit']):2} hits of {len(run['hit'])}, margin {run['margin']:.1e} " + "".join(".#"[h] for h in run["hit"]), flush=True)
    os.makedirs(FOLDER, exist_ok=True)
    write_safetensors(os.path.join(FOLDER, "latents.safetensors"), latents)
    with open(os.path.join(FOLDER, "case.json"), "w", encoding="utf-8") as f:
        f.write('{"runs": [\n' + ",\n".join(json.dumps(r) for r in runs) + "\n]}\n")


if __name__ == "__main__":
    main()
