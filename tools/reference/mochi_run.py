"""Runs a golden Mochi transformer with diffusers and records every stage by name."""

import contextlib
import os
import warnings

import torch
from diffusers import MochiTransformer3DModel
from torch.nn.attention import SDPBackend, sdpa_kernel

from common import GOLDEN

warnings.filterwarnings("ignore", message="In CPU autocast")  # of MochiRoPE, in float32 anyway


def golden_folder(name):
    return os.path.join(GOLDEN, name)


def load(name, dtype=torch.float32):
    path = os.path.join(golden_folder(name), "transformer")
    return MochiTransformer3DModel.from_pretrained(path, torch_dtype=dtype).eval()


def inputs(config):
    """latents [C, F, H, W], encoder_hidden_states [S, text_embed_dim] whose padding is as large as the text."""
    t = config["transformer"]
    rng = torch.Generator("cpu").manual_seed(config["seed"] + 1000)
    draw = lambda *shape: torch.randn(*shape, generator=rng)
    return {"in.latents": draw(t["in_channels"], *config["latents"]),
            "in.encoder_hidden_states": draw(config["text"], t["text_embed_dim"])}


def latent_order(model, x):
    """A token of the prediction, (row, column, channel), in the order of the latents' patches: (channel, row, column)."""
    area = model.config.patch_size ** 2
    return x.unflatten(-1, (area, -1)).transpose(-1, -2).flatten(-2)


@contextlib.contextmanager
def recorded(model, keep, length, item=0, other=None):
    """Hooks that hand each stage of an item of the batch to keep(name, value), of text the valid tokens; and the first item's prediction as `other`."""
    handles = []

    def block(i):
        def hook(m, a, out):
            keep(f"block.{i}.hidden_states", out[0][item])
            keep(f"block.{i}.encoder_hidden_states", out[1][item, :length])
        return hook

    batch = {}  # how many items there are, which patches, frame by frame, do not say
    handles.append(model.register_forward_pre_hook(
        lambda m, a, kw: batch.update(n=(kw.get("hidden_states") if "hidden_states" in kw else a[0]).shape[0]), with_kwargs=True))
    hook = lambda m, f: handles.append(m.register_forward_hook(f))
    hook(model.patch_embed, lambda m, a, out: keep("embed.hidden_states", out.unflatten(0, (batch["n"], -1))[item].flatten(0, 1)))
    hook(model.time_embed, lambda m, a, out: keep("embed.encoder_hidden_states", out[1][item, :length]))
    for i, b in enumerate(model.transformer_blocks):
        hook(b, block(i))
    hook(model.proj_out, lambda m, a, out: keep("head", latent_order(model, out[item])))
    if other:
        hook(model.proj_out, lambda m, a, out: keep(other, latent_order(model, out[0])))
    try:
        yield
    finally:
        for h in handles:
            h.remove()


def run_one(model, config, length, step, cut=False):
    """All stages of one run. cut: the padding is taken away instead of masked."""
    given, stages = inputs(config), {}
    dtype = model.proj_out.weight.dtype
    text = given["in.encoder_hidden_states"][:length] if cut else given["in.encoder_hidden_states"]
    mask = torch.arange(text.shape[0]) < length

    def keep(name, value):
        if value.numel():
            stages[name] = value.detach().float().clone()

    # The timestep stays in float32 whatever the model's type: rounded to bfloat16 it would outweigh all other rounding.
    with recorded(model, keep, length):
        out = model(given["in.latents"][None].to(dtype), text[None].to(dtype), torch.tensor([config["timesteps"][step]]),
                    mask[None], return_dict=False)
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
