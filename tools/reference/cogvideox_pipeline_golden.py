"""Writes tests/golden/cogvideox-video and cogvideox-video-dpm, whole CogVideoXPipeline folders with redrawn weights, and requests' stages and
frames: reference.safetensors and case.json there, and those of more requests of the same models in folders of their own.

usage: cogvideox_pipeline_golden.py [MODEL …]
"""

import contextlib
import os
import shutil
import sys

import torch
from diffusers import (AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXDPMScheduler, CogVideoXPipeline,
                       CogVideoXTransformer3DModel)
from diffusers.utils import logging as diffusers_logging
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import T5Config, T5EncoderModel
from transformers.utils import logging as transformers_logging

from captions import LONG, captions
from cogvideox_configs import transformer
from cogvideox_run import recorded
from cogvideox_scheduler_vectors import REAL
from common import GOLDEN, folder_bytes, rel_l2, write_json, write_safetensors, write_weights
from flux_configs import t5
from flux_weights import redraw, stored
from t5_unigram import write_t5_folder

TEXT = 14
# Models: folder, what of it differs; the first request is written into the model's folder, the others into their own.
MODELS = {
    "cogvideox-video": dict(
        seed=51, scheduler=(CogVideoXDDIMScheduler, dict(REAL, snr_shift_scale=3.0)),
        transformer=transformer(num_layers=1, text_embed_dim=32, sample_width=4, sample_height=6, max_text_seq_length=TEXT),
        requests={
            "cogvideox-video": dict(
                about="sincos positions, DDIM; CFG with a negative prompt; 9 frames",
                request=dict(prompt="a red heart moving left on a white background", negative_prompt="blurred", height=16, width=32,
                             num_frames=9, num_inference_steps=3, guidance_scale=6.0, seed=7, num_images=1, max_sequence_length=TEXT),
            ),
            "cogvideox-video-dynamic": dict(
                about="dynamic CFG without a negative prompt, a prompt that is cut; two videos from one generator, 5 frames asked for, of which the VAE makes 8",
                request=dict(prompt=LONG, height=16, width=16, num_frames=5, num_inference_steps=4, guidance_scale=3.5,
                             use_dynamic_cfg=True, seed=1234567, num_images=2, max_sequence_length=TEXT),
            ),
        },
    ),
    "cogvideox-video-dpm": dict(
        seed=52, scheduler=(CogVideoXDPMScheduler, dict(REAL, snr_shift_scale=1.0)),
        transformer=transformer(num_layers=2, text_embed_dim=32, use_rotary_positional_embeddings=True, patch_size_t=2, sample_width=12,
                                sample_height=10, max_text_seq_length=TEXT),
        requests={
            "cogvideox-video-dpm": dict(
                about="rotary positions, temporal patches that 3 frames of latents do not fill; DPM, which draws noise; CFG",
                request=dict(prompt="two small golden stars, top left", negative_prompt="dark, grainy", height=32, width=16, num_frames=9,
                             num_inference_steps=5, guidance_scale=4.0, seed=99, num_images=1, max_sequence_length=9),
            ),
            "cogvideox-video-dpm-plain": dict(
                about="no guidance; one frame; 2 videos, whose noise comes from one generator",
                request=dict(prompt="a black cat", height=16, width=32, num_frames=1, num_inference_steps=6, guidance_scale=1.0, seed=3,
                             num_images=2, max_sequence_length=TEXT),
            ),
        },
    ),
}
DROPPED = ("block.", "step.0.latents")  # tests/golden/cogvideox-2b and others have these


def model_folder(name):
    return os.path.join(GOLDEN, name)


def build(name, config):
    shutil.rmtree(model_folder(name), ignore_errors=True)
    join = lambda *p: os.path.join(model_folder(name), *p)
    cls, settings = config["scheduler"]
    write_json(join("model_index.json"), {
        "_class_name": "CogVideoXPipeline", "_diffusers_version": "0.31.0.dev0", "scheduler": ["diffusers", cls.__name__],
        "text_encoder": ["transformers", "T5EncoderModel"], "tokenizer": ["transformers", "T5Tokenizer"],
        "transformer": ["diffusers", "CogVideoXTransformer3DModel"], "vae": ["diffusers", "AutoencoderKLCogVideoX"]})
    cls(**settings).save_pretrained(join("scheduler"))
    write_t5_folder(join("tokenizer"), captions(), normalization_rule_name="identity", vocab_size=280, files=("spiece.model",), max_length=226, extra_ids=4)
    n = 4
    models = {
        "transformer": CogVideoXTransformer3DModel(**config["transformer"]),
        "vae": AutoencoderKLCogVideoX(
            down_block_types=("CogVideoXDownBlock3D",) * n, up_block_types=("CogVideoXUpBlock3D",) * n, block_out_channels=(4, 4, 4, 4),
            latent_channels=4, layers_per_block=1, norm_num_groups=2, sample_height=96, sample_width=80, scaling_factor=1.15258426),
        "text_encoder": T5EncoderModel(T5Config(**t5(d_kv=12, num_heads=2, d_ff=40, num_layers=1, vocab_size=300))),
    }
    kinds = {"vae": "video_vae", "text_encoder": "text_encoder_2", "transformer": "transformer"}
    rng = torch.Generator("cpu").manual_seed(config["seed"])
    for component, model in models.items():
        redraw(kinds[component], model.eval(), rng)
    return models


def save(name, models):
    for component, model in models.items():
        path = os.path.join(model_folder(name), component)
        of_diffusers = component in ("transformer", "vae")
        model.save_config(path) if of_diffusers else model.config.save_pretrained(path)
        state = stored(model, "bf16", 4)
        if component == "text_encoder":
            state.pop("encoder.embed_tokens.weight", None)
        write_weights(path, "diffusion_pytorch_model" if of_diffusers else "model", state, 1)


def load(name):
    pipe = CogVideoXPipeline.from_pretrained(model_folder(name), dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tokens(latents, t):
    """[n, f, C, h, w] as tokens [n, tokens, C * p_t * p * p]."""
    n, f, c, h, w = latents.shape
    p_t, p = t.config.patch_size_t or 1, t.config.patch_size
    x = latents.reshape(n, f // p_t, p_t, c, h // p, p, w // p, p)
    return x.permute(0, 1, 4, 6, 3, 2, 5, 7).reshape(n, -1, c * p_t * p * p)


@torch.no_grad()
def run(pipe, request, math=False, threads=2):
    """All stages of the request, of the transformer those of the first video at the first step."""
    stages, calls = {}, dict(forward=0)
    guided, videos = request["guidance_scale"] > 1, request["num_images"]

    def keep(name, value):
        stages[name] = value.detach().float().clone()

    def count(m, a, out):
        calls["forward"] += 1

    def whole_head(m, a, out):  # negative halves of all videos come first
        if calls["forward"] == 0:
            keep("head", out[videos if guided else 0])
            if guided:
                keep("uncond.head", out[0])

    prepare, decode, text = pipe.prepare_latents, pipe.vae.decode, pipe._get_t5_prompt_embeds

    def prepare_latents(*a, **kw):
        latents = prepare(*a, **kw)
        keep("latents", tokens(latents, pipe.transformer))
        return latents

    def vae_decode(z, *a, **kw):
        keep("vae.decode.in", z)
        out = decode(z, *a, **kw)
        keep("images", out[0].permute(0, 2, 1, 3, 4) * 0.5 + 0.5)
        return out

    def prompt_embeds(*a, **kw):
        values = text(*a, **kw)
        keep("text.t5" + (".negative" if "text.t5" in stages else ""), values[0])
        return values

    def step_end(p, i, t, kw):
        keep(f"step.{i}.latents", tokens(kw["latents"], pipe.transformer))
        return kw

    arguments = {k: v for k, v in request.items() if k not in ("seed", "num_images")}
    for k in ("prompt", "negative_prompt"):  # diffusers makes one video of a prompt
        if k in arguments:
            arguments[k] = [arguments[k]] * videos
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    pipe.prepare_latents, pipe.vae.decode, pipe._get_t5_prompt_embeds = prepare_latents, vae_decode, prompt_embeds
    handles = [pipe.transformer.proj_out.register_forward_hook(whole_head), pipe.transformer.register_forward_hook(count)]
    first = lambda name, value: keep(name, value) if calls["forward"] == 0 and not name == "head" else None
    with sdpa_kernel(SDPBackend.MATH) if math else contextlib.nullcontext():
        with recorded(pipe.transformer, first, request["max_sequence_length"], videos if guided else 0):
            out = pipe(**arguments, output_type="pt", callback_on_step_end=step_end, generator=torch.Generator("cpu").manual_seed(request["seed"]))
    for h in handles:
        h.remove()
    pipe.prepare_latents, pipe.vae.decode, pipe._get_t5_prompt_embeds = prepare, decode, text
    torch.set_num_threads(before)
    assert torch.equal(out.frames.float(), stages["images"].clamp(0, 1))
    return stages


@torch.no_grad()
def settle_pixels(name, models, requests):
    """Scales the decoder's last convolution until the frames of all requests lie inside 0.04..0.96."""
    out = models["vae"].decoder.conv_out.conv
    for _ in range(6):
        save(name, models)
        pipe = load(name)
        images = [run(pipe, c["request"])["images"] for c in requests.values()]
        images = torch.cat([i.transpose(1, 2).flatten(2).transpose(0, 1).flatten(1) for i in images], dim=1)  # [3, values]
        reach = (images - 0.5).abs().amax(dim=1)
        if reach.max() <= 0.46 and reach.min() > 0.36:
            return pipe
        low, high = images.amin(dim=1), images.amax(dim=1)
        factor = 0.86 / (high - low)
        out.bias.copy_(factor * (out.bias + 1 - low - high))
        out.weight.mul_(factor[:, None, None, None, None])
    raise SystemExit(f"pixels do not settle: reach {reach.tolist()}")


def write(name, config, pipe):
    folder = os.path.join(GOLDEN, name)
    base = run(pipe, config["request"])
    variants = [run(pipe, config["request"], math=True), run(pipe, config["request"], threads=1)]
    spread = {k: max(rel_l2(v[k], base[k]) for v in variants) for k in base}
    for k, v in base.items():
        assert torch.isfinite(v).all(), k
    images = base["images"]
    assert images.min() > 0 and images.max() < 1 and images.std() > 0.04, (images.min(), images.max(), images.std())
    kept = {k: v for k, v in base.items() if not k.startswith(DROPPED)}
    write_safetensors(os.path.join(folder, "reference.safetensors"), kept)
    defaults = dict(prompt_2=None, negative_prompt=None, true_cfg_scale=1.0)
    write_json(os.path.join(folder, "case.json"), dict(
        about=config["about"], **dict(defaults, **config["request"]), vae_tiling=False, timesteps=pipe.scheduler.timesteps.tolist(),
        spread={k: spread[k] for k in sorted(kept)}))
    worst = max(spread, key=spread.get)
    print(f"{name}: {folder_bytes(folder) / 1024:.0f} KiB, worst spread {spread[worst]:.2e} ({worst}), pixels {images.min():.3f}.."
          f"{images.max():.3f} std {images.std():.3f}", flush=True)
    for k in sorted(kept):
        print(f"  {k:34s} {str(list(kept[k].shape)):18s} rms {kept[k].pow(2).mean().sqrt():8.3f} spread {spread[k]:.1e}")


def main(names):
    for name in names:
        config = MODELS[name]
        pipe = settle_pixels(name, build(name, config), config["requests"])
        for request, case in config["requests"].items():
            write(request, case, pipe)


if __name__ == "__main__":
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    sys.exit(main(sys.argv[1:] or list(MODELS)))
