"""Runs a golden CogVideoX transformer with diffusers and records every stage by name."""

import contextlib
import os
from types import SimpleNamespace

import torch
from diffusers import CogVideoXPipeline, CogVideoXTransformer3DModel
from torch.nn.attention import SDPBackend, sdpa_kernel

from common import GOLDEN

VAE_SCALE = 8  # of the pixels that the rotary tables are asked for; any would do


def golden_folder(name):
    return os.path.join(GOLDEN, name)


def load(name, dtype=torch.float32):
    path = os.path.join(golden_folder(name), "transformer")
    return CogVideoXTransformer3DModel.from_pretrained(path, torch_dtype=dtype).eval()


def inputs(config):
    """latents [C, F, H, W], encoder_hidden_states [S, text_embed_dim]."""
    t = config["transformer"]
    rng = torch.Generator("cpu").manual_seed(config["seed"] + 1000)
    draw = lambda *shape: torch.randn(*shape, generator=rng)
    return {"in.latents": draw(t["in_channels"], *config["latents"]),
            "in.encoder_hidden_states": draw(config["text"], t["text_embed_dim"])}


def rotary(model, frames, height, width):
    """The tables as CogVideoXPipeline prepares them, or None."""
    if not model.config.use_rotary_positional_embeddings:
        return None
    pipe = SimpleNamespace(vae_scale_factor_spatial=VAE_SCALE, transformer=model)
    return CogVideoXPipeline._prepare_rotary_positional_embeddings(pipe, height * VAE_SCALE, width * VAE_SCALE, frames, "cpu")


@contextlib.contextmanager
def recorded(model, keep, length, index=0):
    """Hooks that hand each stage of one of the batch to keep(name, value)."""
    handles = []

    def block(i):
        def hook(m, a, out):
            keep(f"block.{i}.hidden_states", out[0][index])
            keep(f"block.{i}.encoder_hidden_states", out[1][index])
        return hook

    def embed(m, a, out):
        keep("embed.encoder_hidden_states", out[index, :length])
        keep("embed.hidden_states", out[index, length:])

    hook = lambda m, f: handles.append(m.register_forward_hook(f))
    hook(model.patch_embed, embed)
    for i, b in enumerate(model.transformer_blocks):
        hook(b, block(i))
    hook(model.proj_out, lambda m, a, out: keep("head", out[index]))
    try:
        yield
    finally:
        for h in handles:
            h.remove()


def run_one(model, config, step):
    """All stages of one run."""
    given, stages = inputs(config), {}
    dtype = next(model.parameters()).dtype
    keep = lambda name, value: stages.update({name: value.detach().float().clone()})
    with recorded(model, keep, config["text"]):
        out = model(given["in.latents"].permute(1, 0, 2, 3)[None].to(dtype), given["in.encoder_hidden_states"][None].to(dtype),
                    torch.tensor([config["timesteps"][step]]), image_rotary_emb=rotary(model, *config["latents"]), return_dict=False)
    keep("sample", out[0][0].permute(1, 0, 2, 3))  # [C, F, H, W]
    return stages


@torch.no_grad()
def run(model, config, math=False, threads=2):
    """The stages of all runs, "RUN.STAGE". math: PyTorch's plain attention instead of its default."""
    before, stages = torch.get_num_threads(), {}
    torch.set_num_threads(threads)
    with sdpa_kernel(SDPBackend.MATH) if math else contextlib.nullcontext():
        for i, step in enumerate(config["runs"]):
            for name, value in run_one(model, config, step).items():
                stages[f"{i}.{name}"] = value
    torch.set_num_threads(before)
    return stages
