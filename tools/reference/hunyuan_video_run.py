"""Runs a golden HunyuanVideo transformer with diffusers and records every stage by name."""

import contextlib
import os

import torch
from diffusers import HunyuanVideoTransformer3DModel
from torch.nn.attention import SDPBackend, sdpa_kernel

from common import GOLDEN


def golden_folder(name):
    return os.path.join(GOLDEN, name)


def load(name, dtype=torch.float32):
    path = os.path.join(golden_folder(name), "transformer")
    return HunyuanVideoTransformer3DModel.from_pretrained(path, torch_dtype=dtype).eval()


def inputs(config):
    """latents [C, F, H, W], encoder_hidden_states [S, text_embed_dim] whose padding is as large as the text, pooled_projections [P]."""
    t = config["transformer"]
    rng = torch.Generator("cpu").manual_seed(config["seed"] + 1000)
    draw = lambda *shape: torch.randn(*shape, generator=rng)
    return {"in.latents": draw(t["in_channels"], *config["latents"]),
            "in.encoder_hidden_states": draw(config["text"], t["text_embed_dim"]),
            "in.pooled_projections": draw(t["pooled_projection_dim"])}


@contextlib.contextmanager
def recorded(model, keep, length):
    """Hooks that hand each stage to keep(name, value); of text the valid tokens."""
    handles = []

    def block(i):
        def hook(m, a, out):
            keep(f"block.{i}.hidden_states", out[0][0])
            keep(f"block.{i}.encoder_hidden_states", out[1][0, :length])
        return hook

    hook = lambda m, f: handles.append(m.register_forward_hook(f))
    hook(model.x_embedder, lambda m, a, out: keep("embed.hidden_states", out[0]))
    hook(model.context_embedder, lambda m, a, out: keep("embed.encoder_hidden_states", out[0, :length]))
    for i, b in enumerate([*model.transformer_blocks, *model.single_transformer_blocks]):
        hook(b, block(i))
    hook(model.proj_out, lambda m, a, out: keep("head", out[0]))
    try:
        yield
    finally:
        for h in handles:
            h.remove()


def run_one(model, config, length, step, cut=False):
    """All stages of one run. cut: the padding is taken away instead of masked."""
    given, stages = inputs(config), {}
    dtype = next(model.parameters()).dtype
    text = given["in.encoder_hidden_states"][:length] if cut else given["in.encoder_hidden_states"]
    mask = (torch.arange(text.shape[0]) < length).long()

    def keep(name, value):
        stages[name] = value.detach().float().clone()

    # timestep and guidance stay in float32 whatever the model's type: rounded to bfloat16 they would outweigh all other rounding.
    guidance = torch.tensor([config["guidance_scale"] * 1000.0]) if model.config.guidance_embeds else None
    with recorded(model, keep, length):
        out = model(given["in.latents"][None].to(dtype), torch.tensor([config["timesteps"][step]]),
                    text[None].to(dtype), mask[None], given["in.pooled_projections"][None].to(dtype), guidance,
                    return_dict=False)
    keep("sample", out[0][0])
    return stages


@torch.no_grad()
def run(model, config, math=False, threads=2, cut=False):
    """The stages of all runs, "RUN.STAGE". math: PyTorch's plain attention instead of its default."""
    before, stages = torch.get_num_threads(), {}
    torch.set_num_threads(threads)
    with sdpa_kernel(SDPBackend.MATH) if math else contextlib.nullcontext():
        for i, (length, step) in enumerate(config["runs"]):
            for name, value in run_one(model, config, length, step, cut).items():
                stages[f"{i}.{name}"] = value
    torch.set_num_threads(before)
    return stages
