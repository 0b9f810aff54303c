"""Shows that the golden weights show errors: zeroed attention moves outputs, and every perturbed tensor a stage.

For each config: (1) the attention of each component is zeroed; its output must move by 30 % or more; (2) each weight
tensor is perturbed by 10 % (each element times 1 + 0.1 N(0, 1)) and, apart, scaled by 1.1; the change of the stage that
moves most, over that stage's bound (the larger of 1e-5 and 4 times the reference's spread), is its ratio. Prints the
smallest ratios. Tensors to which the output is blind by construction are listed in BLIND and checked to be so.

usage: check_weights.py [CONFIG ...]
"""

import json
import os
import re
import sys

import torch
from safetensors.torch import load_file
from transformers.utils import logging as transformers_logging
from diffusers.utils import logging as diffusers_logging

from common import rel_l2
from flux_configs import CONFIGS
from flux_run import encode_picture, golden_folder, load, recorded, pipe_arguments, run

# A key's bias adds the same number to all scores of a query, and softmax takes it away again.
BLIND = r"text_encoder\..*k_proj\.bias$|vae\..*attentions\.0\.to_k\.bias$"


def attention_outputs(component, model):
    """The linear layers that carry attention's result into the residual stream."""
    names = {"transformer": r"attn\.(to_out\.0|to_add_out)$", "vae": r"attentions\.0\.to_out\.0$",
             "text_encoder": r"self_attn\.out_proj$", "text_encoder_2": r"SelfAttention\.o$"}[component]
    return [m for n, m in model.named_modules() if re.search(names, n)]


def zero_attention(pipe, component):
    """Zeroes what attention returns, before its output projection. Gives handles."""
    model, handles = getattr(pipe, component), []
    for m in attention_outputs(component, model):
        handles.append(m.register_forward_pre_hook(lambda m, a: (torch.zeros_like(a[0]),)))
    if component == "transformer":
        for b in model.single_transformer_blocks:
            handles.append(b.attn.register_forward_hook(lambda m, a, out: torch.zeros_like(out)))
    return handles


OUTPUT = {"transformer": ("head",), "vae": ("images", "vae.encode.mean"), "text_encoder": ("text.clip",),
          "text_encoder_2": ("text.t5",)}


def deviation(name, got, want):
    """Pixels are compared about their mean, else relative."""
    if name == "images":
        mean = want.mean(dim=(2, 3), keepdim=True)
        return rel_l2(got - mean, want - mean)
    return rel_l2(got, want)


@torch.no_grad()
def partial(pipe, config, base, component):
    """The stages that a change of `component` can move first, without running the rest where it is not needed."""
    if component == "vae":
        z = base["vae.decode.in"]
        dist = pipe.vae.encode(base["vae.encode.in"]).latent_dist
        return {"images": pipe.vae.decode(z).sample * 0.5 + 0.5, "vae.encode.mean": dist.mean,
                "vae.encode.logvar": dist.logvar}
    return run_first_step(pipe, config)


def run_first_step(pipe, config):
    class Done(Exception):
        pass

    def stop(p, i, t, kw):
        stages["step.0.latents"] = kw["latents"].clone()
        raise Done

    stages = {"cfg": config["request"].get("true_cfg_scale", 1) > 1}
    with recorded(pipe, stages):
        try:
            pipe(**pipe_arguments(config["request"]), output_type="latent", callback_on_step_end=stop)
        except Done:
            pass
    return stages


def sweep(parameters, base, bound, blind, scale_free="$^"):
    """Perturbs each of (name, parameter, what runs the stages) in turn and prints the smallest ratios; names that match `blind` must
    change nothing, and those that match `scale_free` are not scaled. Number of failures."""
    seen, unseen = [], []
    rng = torch.Generator("cpu").manual_seed(1)
    for name, p, stages in parameters:
        saved = p.clone()
        for kind in ("noise", "scale"):
            if kind == "scale" and re.search(scale_free, name):
                continue
            p.copy_(saved * (1 + 0.1 * torch.randn(p.shape, generator=rng) if kind == "noise" else 1.1))
            ratio = max((rel_l2(v, base[k]) / bound[k], k) for k, v in stages().items() if k in bound)
            p.copy_(saved)
            (unseen if re.search(blind, name) else seen).append((*ratio, kind, name))
    seen.sort()
    for r in seen[:4]:
        print(f"  {r[0]:10.1f} x bound of {r[1]}: {r[2]} of {r[3]}")
    count = lambda some: len({r[3] for r in some})
    print(f"  {count(seen)} tensors checked; {count(unseen)} blind by construction, "
          f"largest ratio {max(unseen, default=(0,))[0]:.2f}")
    return sum(r[0] < 1 for r in seen) + sum(r[0] > 1 for r in unseen)


@torch.no_grad()
def main(names):
    transformers_logging.disable_progress_bar()
    diffusers_logging.disable_progress_bar()
    torch.set_num_threads(1)
    failed = 0
    for name in names:
        config, folder = CONFIGS[name], golden_folder(name)
        spread = json.load(open(os.path.join(folder, "case.json")))["spread"]
        bound = {k: max(1e-5, 4 * v) for k, v in spread.items()}
        pipe = load(folder, tiling=config.get("tiling", False))
        base = run(pipe, config, threads=1)
        stored = load_file(os.path.join(folder, "reference.safetensors"))
        again = max(rel_l2(base[k], v) for k, v in stored.items())
        moved = {}
        for component, outputs in OUTPUT.items():
            if not attention_outputs(component, getattr(pipe, component)):
                continue
            handles = zero_attention(pipe, component)
            got = run(pipe, config, threads=1)
            for o in outputs:
                moved[f"{component}: {o}"] = deviation(o, got[o], base[o])
            for h in handles:
                h.remove()
        print(f"{name}: again {again:.1e}; attention zeroed moves", {k: round(v, 2) for k, v in moved.items()})
        failed += sum(v < 0.3 for v in moved.values())

        wanted = [(f"{c}.{n}", p, lambda c=c: partial(pipe, config, base, c))
                  for c in OUTPUT for n, p in getattr(pipe, c).named_parameters()]
        failed += sweep(wanted, base, bound, BLIND)
    print("failed:", failed)
    return failed


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:] or list(CONFIGS)) else 0)
