"""Runs a golden config with diffusers in float32 and records every stage by name."""

import contextlib
import os

import torch
from diffusers import FluxPipeline
from torch.nn.attention import SDPBackend, sdpa_kernel

PIPE_KEYS = ("prompt", "prompt_2", "negative_prompt", "true_cfg_scale", "height", "width", "num_inference_steps",
             "guidance_scale", "max_sequence_length")


def load(folder, dtype=torch.float32, tiling=False):
    pipe = FluxPipeline.from_pretrained(folder, dtype=dtype)
    pipe.set_progress_bar_config(disable=True)
    if tiling:
        pipe.vae.enable_tiling()
    return pipe


def pipe_arguments(request):
    kw = {k: request[k] for k in PIPE_KEYS if k in request}
    return dict(kw, num_images_per_prompt=request["num_images"],
                generator=torch.Generator("cpu").manual_seed(request["seed"]))


@contextlib.contextmanager
def recorded(pipe, stages):
    """Hooks that write into `stages`; item 0 of the first step's first (conditional) transformer call."""
    tf, handles, calls = pipe.transformer, [], {"n": 0, "clip": 0, "t5": 0}
    first = lambda: calls["n"] == 0

    def keep(name, value):
        stages[name] = value.detach().float().clone()

    def embed(name):
        return lambda m, a, out: keep(name, out[0]) if first() else None

    def block(i):
        def hook(m, a, out):
            if first():
                keep(f"block.{i}.encoder_hidden_states", out[0][0])
                keep(f"block.{i}.hidden_states", out[1][0])
        return hook

    def head(m, a, out):
        if calls["n"] == 0:
            keep("head", out[0])
        elif calls["n"] == 1 and pipe_is_cfg:
            keep("uncond.head", out[0])
        calls["n"] += 1

    def text(name, pick):
        def hook(m, a, out):
            keep(name + (".negative" if calls[name[5:]] else ""), pick(out))
            calls[name[5:]] += 1
        return hook

    pipe_is_cfg = stages.pop("cfg", False)
    handles.append(tf.x_embedder.register_forward_hook(embed("embed.hidden_states")))
    handles.append(tf.context_embedder.register_forward_hook(embed("embed.encoder_hidden_states")))
    for i, b in enumerate([*tf.transformer_blocks, *tf.single_transformer_blocks]):
        handles.append(b.register_forward_hook(block(i)))
    handles.append(tf.proj_out.register_forward_hook(head))
    handles.append(pipe.text_encoder.register_forward_hook(text("text.clip", lambda o: o.pooler_output[0])))
    handles.append(pipe.text_encoder_2.register_forward_hook(text("text.t5", lambda o: o[0][0])))
    prepare, decode = pipe.prepare_latents, pipe.vae.decode

    def prepare_latents(*a, **kw):
        latents, ids = prepare(*a, **kw)
        keep("latents", latents)
        return latents, ids

    def vae_decode(z, *a, **kw):
        keep("vae.decode.in", z)
        out = decode(z, *a, **kw)
        keep("images", out[0] * 0.5 + 0.5)
        return out

    pipe.prepare_latents, pipe.vae.decode = prepare_latents, vae_decode
    try:
        yield
    finally:
        pipe.prepare_latents, pipe.vae.decode = prepare, decode
        for h in handles:
            h.remove()


def encode_picture(config):
    """A smooth picture with some noise, in -1..1, that the encoder is run on. [1, 3, h, w]"""
    h, w = config["encode"]
    rng = torch.Generator("cpu").manual_seed(config["seed"])
    y, x = torch.meshgrid(torch.linspace(0, 3, h), torch.linspace(0, 4, w), indexing="ij")
    wave = torch.stack([torch.sin(x + y), torch.cos(x * 1.7 - y), torch.sin(y * 2.1) * torch.cos(x)])
    return (0.7 * wave + 0.1 * torch.randn(3, h, w, generator=rng)).clamp(-1, 1)[None]


@torch.no_grad()
def run(pipe, config, math=False, threads=2):
    """All stages of the config's request. math: PyTorch's plain attention instead of its default."""
    request, stages = config["request"], {}
    stages["cfg"] = request.get("true_cfg_scale", 1) > 1 and "negative_prompt" in request

    def step_end(p, i, t, kw):
        stages[f"step.{i}.latents"] = kw["latents"].float().clone()
        return kw

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    with sdpa_kernel(SDPBackend.MATH) if math else contextlib.nullcontext():
        with recorded(pipe, stages):
            pipe(**pipe_arguments(request), output_type="pt", callback_on_step_end=step_end)
        stages["vae.encode.in"] = encode_picture(config)
        dist = pipe.vae.encode(stages["vae.encode.in"].to(pipe.vae.dtype)).latent_dist
        stages["vae.encode.mean"], stages["vae.encode.logvar"] = dist.mean.float(), dist.logvar.float()
    torch.set_num_threads(before)
    return stages


def golden_folder(name):
    from common import GOLDEN
    return os.path.join(GOLDEN, name)
