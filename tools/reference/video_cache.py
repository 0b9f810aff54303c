"""What the generators of videos' First Block Cache share: mochi_cache.py, cogvideox_cache.py.

case.json, `runs`: the request, the cache's options under ParaAttention's names, and how the halves of CFG are called: `together`, as diffusers does it, deciding
together; or one after the other, the conditional half first, each with buffers of its own. Of each call `d` (null: not measured) and `hit`; `margin` as
in first_block_cache.py. latents.safetensors: of each run, in diffusers' form.
"""

import json
import os

import torch
from para_attn.first_block_cache import utils
from para_attn.first_block_cache.diffusers_adapters import apply_cache_on_transformer

from common import write_safetensors
from first_block_cache import MARGIN, calls, margin, record


def one_after_the_other(forward):
    """Both halves, which diffusers hands over at once, the negative one first; the conditional one is computed first."""
    def both(**kw):
        of_half = lambda v, i: v[i:i + 1] if torch.is_tensor(v) else v
        half = lambda i: forward(**{k: of_half(v, i) for k, v in kw.items()})[0]
        conditional = half(1)
        return (torch.cat([half(0), conditional]),)
    return both


@torch.no_grad()
def draw(pipe, request, together, options):
    calls.clear()
    forward = pipe.transformer.forward
    if not together:
        pipe.transformer.forward = one_after_the_other(forward)
    with utils.cache_context(utils.create_cache_context(**options)):
        kw = {k: v for k, v in request.items() if k != "seed"}
        latents = pipe(**kw, output_type="latent", generator=torch.Generator("cpu").manual_seed(request["seed"])).frames
    pipe.transformer.forward = forward
    return latents, [d for d, _ in calls], [bool(h) for _, h in calls]


def away_from_doubt(pipe, request, together, options):
    """Runs it, with the threshold raised until every decision is clear."""
    while True:
        latents, d, hits = draw(pipe, request, together, options)
        if margin(options, d) >= MARGIN:
            return latents, dict(request=request, together=together, options=options, margin=float(f"{margin(options, d):.2g}"),
                                 hit=[int(h) for h in hits], d=[d if d is None else float(f"{d:.7g}") for d in d])
        options = dict(options, residual_diff_threshold=round(options["residual_diff_threshold"] * 1.004, 6))


def write(folder, pipe, all_runs):
    """all_runs: name to (request, together, options)."""
    torch.set_num_threads(2)
    apply_cache_on_transformer(pipe.transformer)
    record()
    runs, latents = [], {}
    for name, (request, together, options) in all_runs.items():
        latents[name], run = away_from_doubt(pipe, request, together, options)
        runs.append(dict(name=name, **run))
        print(f"{name:20} {sum(run['hit']):2} hits of {len(run['hit'])}, margin {run['margin']:.1e} "
              + "".join(".#"[h] for h in run["hit"]) + " " + " ".join("-" if x is None else f"{x:.3f}" for x in run["d"]), flush=True)
    os.makedirs(folder, exist_ok=True)
    write_safetensors(os.path.join(folder, "latents.safetensors"), latents)
    with open(os.path.join(folder, "case.json"), "w", encoding="utf-8") as f:
        f.write('{"runs": [\n' + ",\n".join(json.dumps(r) for r in runs) + "\n]}\n")
