"""Writes tests/golden/cache: what ParaAttention's First Block Cache decides with models/tiny-flux, and what comes out, in float32 on the CPU.

Needs an environment of its own, requirements_cache.txt: para-attn works with an older diffusers than the other scripts.

case.json, `runs`: the request and the cache's options under ParaAttention's names; for each call of the transformer, in the order of the steps
and, under true CFG, conditional half first, `d` (null: not measured) and `hit`; `margin`: the smallest |d - threshold| / threshold. A threshold
is raised by 0.4 % until its margin is 2e-3 or more.
pictures-SIZE.png: the pictures of that size one below the other, in the order of the runs.
"""

import json
import os

import numpy
import torch
from diffusers import FluxPipeline
from diffusers.utils import logging as diffusers_logging
from para_attn.first_block_cache import utils
from para_attn.first_block_cache.diffusers_adapters import apply_cache_on_transformer
from PIL import Image

from common import GOLDEN, ROOT

FOLDER = os.path.join(GOLDEN, "cache")
SIZE, STEPS, MARGIN = 128, 28, 2e-3
BASE = dict(height=SIZE, width=SIZE, num_inference_steps=STEPS, guidance_scale=3.5, max_sequence_length=64, seed=7)
PROMPTS = ["a red heart on a blue background", "three small crabs on a turquoise background", "fox, pink background, large",
           "two snowmen at the bottom left", "a huge pizza slice on black, right"]
THRESHOLDS = [0.05, 0.1, 0.15, 0.2, 0.25]
CFG = dict(prompt=PROMPTS[1], negative_prompt="a pink background, large", true_cfg_scale=1.5)
HALVES = dict(enable_alter_cache=True, num_inference_steps=STEPS)
OTHERS = {
    "warmup": (dict(prompt=PROMPTS[0]), dict(residual_diff_threshold=0.12, warmup_steps=9)),
    "downsample": (dict(prompt=PROMPTS[0]), dict(residual_diff_threshold=0.12, downsample_factor=3)),
    "taylorseer-1": (dict(prompt=PROMPTS[2]), dict(residual_diff_threshold=0.15, enable_taylorseer=True,
                                                  taylorseer_kwargs=dict(n_derivatives=1))),
    "taylorseer-3": (dict(prompt=PROMPTS[0]), dict(residual_diff_threshold=0.12, enable_taylorseer=True,
                                                  taylorseer_kwargs=dict(n_derivatives=3))),
    "halves": (CFG, dict(HALVES, residual_diff_threshold=0.12)),
    "halves-apart": (CFG, dict(HALVES, residual_diff_threshold=0.1, alter_residual_diff_threshold=0.2)),
    "256": (dict(prompt=PROMPTS[3], height=256, width=256), dict(residual_diff_threshold=0.2)),
    "256-taylorseer": (dict(prompt=PROMPTS[4], height=256, width=256), dict(residual_diff_threshold=0.25, enable_taylorseer=True,
                                                                           taylorseer_kwargs=dict(n_derivatives=2))),
    "skip-layers": (CFG, dict(HALVES, residual_diff_threshold=0.1, slg_layers=[2, 5, 9], slg_start=0.1, slg_end=0.6)),
}
calls = []  # of the transformer: [d or None, hit]


def record():
    similar, can_use = utils.are_two_tensors_similar, utils.get_can_use_cache

    def recorded_similar(t1, t2, **kw):
        calls[-1][0] = ((t1 - t2).abs().mean() / t1.abs().mean()).item()
        return similar(t1, t2, **kw)

    def recorded_can_use(*a, **kw):
        calls.append([None, False])
        calls[-1][1] = can_use(*a, **kw)
        return calls[-1][1]

    utils.are_two_tensors_similar, utils.get_can_use_cache = recorded_similar, recorded_can_use


@torch.no_grad()
def draw(pipe, request, options):
    calls.clear()
    with utils.cache_context(utils.create_cache_context(**options)):
        kw = {k: v for k, v in request.items() if k != "seed"}
        picture = pipe(**kw, generator=torch.Generator("cpu").manual_seed(request["seed"])).images[0]
    return numpy.asarray(picture), [d for d, _ in calls], [bool(h) for _, h in calls]


def margin(options, differences):
    least = 1.0
    alternate = options.get("enable_alter_cache", False)
    for i, d in enumerate(differences):
        t = options["residual_diff_threshold"]
        if alternate and i % 2:
            t = options.get("alter_residual_diff_threshold", t)
        if d is not None:
            least = min(least, abs(d - t) / t)
    return least


def away_from_doubt(pipe, request, options):
    """Runs it, with the threshold raised until every decision is clear."""
    while True:
        picture, d, hits = draw(pipe, request, options)
        if margin(options, d) >= MARGIN:
            return picture, dict(request=request, options=options, margin=float(f"{margin(options, d):.2g}"),
                                 hit=[int(h) for h in hits], d=[d if d is None else float(f"{d:.7g}") for d in d])
        options = dict(options, residual_diff_threshold=round(options["residual_diff_threshold"] * 1.004, 6))


def main():
    diffusers_logging.disable_progress_bar()
    torch.set_num_threads(2)
    pipe = FluxPipeline.from_pretrained(os.path.join(ROOT, "models", "tiny-flux"), torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    apply_cache_on_transformer(pipe.transformer)
    record()
    wanted = {f"{i}-{t}": (dict(prompt=p), dict(residual_diff_threshold=t)) for i, p in enumerate(PROMPTS) for t in THRESHOLDS}
    wanted.update(OTHERS)
    runs, pictures = [], {}
    for name, (request, options) in wanted.items():
        picture, run = away_from_doubt(pipe, dict(BASE, **request), options)
        runs.append(dict(name=name, **run))
        pictures.setdefault(len(picture), []).append(picture)
        print(f"{name:14} {sum(run['hit']):2} hits of {len(run['hit'])}, margin {run['margin']:.1e} "
              + "".join(".#"[h] for h in run["hit"]), flush=True)
    os.makedirs(FOLDER, exist_ok=True)
    for size, some in pictures.items():
        Image.fromarray(numpy.concatenate(some)).save(os.path.join(FOLDER, f"pictures-{size}.png"), optimize=True)
    with open(os.path.join(FOLDER, "case.json"), "w", encoding="utf-8") as f:
        f.write('{"runs": [\n' + ",\n".join(json.dumps(r) for r in runs) + "\n]}\n")


if __name__ == "__main__":
    main()
