"""Writes tests/golden/mochi-cache: what ParaAttention's First Block Cache decides with the model of tests/golden/mochi-video, and the latents in the end,
in float32 on the CPU.

Needs para-attn (0.3.38, without its dependencies) beside the packages of requirements.txt. Its adapter for Mochi's pipeline passes its context wrongly; that of
the transformer, inside a context made here, is what runs.

case.json, `runs`: the request, the cache's options under ParaAttention's names, and how the halves of CFG are called: `together`, as diffusers does it, deciding
together; or one after the other, the conditional half first, each with buffers of its own. Of each call `d` (null: not measured) and `hit`; `margin` as
in first_block_cache.py. latents.safetensors: of each run [n, C, f, h, w].
"""

import json
import os
import unittest.mock  # ParaAttention's adapters use it and do not import it

import torch
from diffusers import AutoencoderKLMochi, MochiTransformer3DModel
from diffusers.utils import logging as diffusers_logging
from para_attn.first_block_cache import utils
from para_attn.first_block_cache.diffusers_adapters import apply_cache_on_transformer
from transformers import T5EncoderModel
from transformers.utils import logging as transformers_logging

from common import GOLDEN, write_safetensors
from first_block_cache import MARGIN, calls, margin, record
from mochi_pipeline_golden import MODEL, assemble

FOLDER = os.path.join(GOLDEN, "mochi-cache")
STEPS = 14
REQUEST = dict(prompt="a red heart moving left on a white background", negative_prompt="blurred", height=32, width=48, num_frames=7,
               num_inference_steps=STEPS, guidance_scale=2.5, seed=11, max_sequence_length=24)
EMPTY = {k: v for k, v in dict(REQUEST, seed=12).items() if k != "negative_prompt"}
APART = dict(enable_alter_cache=True, num_inference_steps=STEPS)
TAYLOR = dict(enable_taylorseer=True, taylorseer_kwargs=dict(n_derivatives=1))
RUNS = {
    "together": (REQUEST, True, dict(residual_diff_threshold=0.7)),
    "together-high": (REQUEST, True, dict(residual_diff_threshold=0.95)),
    "together-empty": (EMPTY, True, dict(residual_diff_threshold=0.85, warmup_steps=3)),
    "together-taylorseer": (REQUEST, True, dict(residual_diff_threshold=0.8, **TAYLOR)),
    "apart": (REQUEST, False, dict(residual_diff_threshold=0.8, **APART)),
    "apart-empty": (EMPTY, False, dict(residual_diff_threshold=0.9, alter_residual_diff_threshold=0.7, **APART)),
}


def load():
    part = lambda cls, name: cls.from_pretrained(os.path.join(MODEL, name), torch_dtype=torch.float32).eval()
    vae = AutoencoderKLMochi.from_config(AutoencoderKLMochi.load_config(os.path.join(MODEL, "vae")))  # decodes nothing here
    return assemble(dict(transformer=part(MochiTransformer3DModel, "transformer"), vae=vae,
                         text_encoder=part(T5EncoderModel, "text_encoder")))


def one_after_the_other(forward):
    """Both halves, which diffusers hands over at once, the negative one first; the conditional one is computed first."""
    def both(hidden_states, encoder_hidden_states, timestep, encoder_attention_mask, **kw):
        half = lambda i: forward(hidden_states=hidden_states[i:i + 1], encoder_hidden_states=encoder_hidden_states[i:i + 1],
                                 timestep=timestep[i:i + 1], encoder_attention_mask=encoder_attention_mask[i:i + 1], **kw)[0]
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


def main():
    torch.set_num_threads(2)
    pipe = load()
    apply_cache_on_transformer(pipe.transformer)
    record()
    runs, latents = [], {}
    for name, (request, together, options) in RUNS.items():
        latents[name], run = away_from_doubt(pipe, request, together, options)
        runs.append(dict(name=name, **run))
        print(f"{name:20} {sum(run['hit']):2} hits of {len(run['hit'])}, margin {run['margin']:.1e} "
              + "".join(".#"[h] for h in run["hit"]) + " " + " ".join("-" if x is None else f"{x:.3f}" for x in run["d"]), flush=True)
    os.makedirs(FOLDER, exist_ok=True)
    write_safetensors(os.path.join(FOLDER, "latents.safetensors"), latents)
    with open(os.path.join(FOLDER, "case.json"), "w", encoding="utf-8") as f:
        f.write('{"runs": [\n' + ",\n".join(json.dumps(r) for r in runs) + "\n]}\n")


if __name__ == "__main__":
    transformers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    main()
