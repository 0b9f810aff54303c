"""Writes tests/golden/mochi-video, a whole MochiPipeline folder with redrawn weights, and its requests' stages and frames:
reference.safetensors and case.json there, and those of more requests of the same model in folders of their own.

Of the VAE the file has the decoder alone, which is what a pipeline loads.

usage: mochi_pipeline_golden.py
"""

import contextlib
import os
import shutil
import sys

import torch
from diffusers import AutoencoderKLMochi, FlowMatchEulerDiscreteScheduler, MochiPipeline, MochiTransformer3DModel
from diffusers.utils import logging as diffusers_logging
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import T5Config, T5EncoderModel, T5TokenizerFast
from transformers.utils import logging as transformers_logging

from captions import LONG, captions
from common import GOLDEN, folder_bytes, rel_l2, write_json, write_safetensors, write_weights
from flux_weights import redraw, stored
from mochi_configs import transformer
from mochi_run import recorded
from t5_unigram import write_t5_folder

MODEL = os.path.join(GOLDEN, "mochi-video")
SEED = 51
MODEL_INDEX = {
    "_class_name": "MochiPipeline", "_diffusers_version": "0.32.0.dev0", "force_zeros_for_empty_prompt": True,
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"], "text_encoder": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "T5TokenizerFast"], "transformer": ["diffusers", "MochiTransformer3DModel"],
    "vae": ["diffusers", "AutoencoderKLMochi"],
}
# Requests: folder to write, what is left out for size.
REQUESTS = {
    "mochi-video": dict(
        about="CFG whose halves have texts of other lengths; a picture of 7 frames, wide",
        request=dict(prompt="a red heart moving left on a white background", negative_prompt="blurred", height=32, width=48,
                     num_frames=7, num_inference_steps=3, guidance_scale=4.5, seed=7, num_images=1, max_sequence_length=24),
        drop=("step.0.latents",),
    ),
    "mochi-video-empty": dict(
        about="no negative prompt, which counts as no token at all; a prompt that is cut; two videos of one frame from one generator",
        request=dict(prompt=LONG, height=48, width=16, num_frames=1, num_inference_steps=2, guidance_scale=2.5, seed=1234567,
                     num_images=2, max_sequence_length=20),
        drop=(),
    ),
    "mochi-video-alone": dict(
        about="a prompt alone: guidance_scale 1 has no second half",
        request=dict(prompt="two small golden stars", height=16, width=32, num_frames=7, num_inference_steps=2, guidance_scale=1.0,
                     seed=3, num_images=1, max_sequence_length=24),
        drop=("step.0.latents",),
    ),
}
DROPPED = ("block.",)  # tests/golden/mochi-wide and others have these


def build():
    shutil.rmtree(MODEL, ignore_errors=True)
    join = lambda *p: os.path.join(MODEL, *p)
    write_json(join("model_index.json"), MODEL_INDEX)
    FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0, invert_sigmas=True).save_pretrained(join("scheduler"))
    write_t5_folder(join("tokenizer"), captions(), normalization_rule_name="identity", vocab_size=280, files=("spiece.model",))
    t5 = dict(vocab_size=400, d_model=24, d_kv=8, d_ff=48, num_layers=2, num_heads=3, feed_forward_proj="gated-gelu",
              relative_attention_num_buckets=16, relative_attention_max_distance=24, is_encoder_decoder=False,
              tie_word_embeddings=False, dropout_rate=0.1, layer_norm_epsilon=1e-6)
    models = {
        "transformer": MochiTransformer3DModel(**transformer(
            num_attention_heads=2, attention_head_dim=16, pooled_projection_dim=16, num_layers=2, text_embed_dim=24,
            in_channels=12)),
        "vae": AutoencoderKLMochi(encoder_block_out_channels=(32,) * 4, decoder_block_out_channels=(32,) * 4,
                                  layers_per_block=(1, 0, 1, 0, 1), scaling_factor=1.25),
        "text_encoder": T5EncoderModel(T5Config(**t5)),
    }
    kinds = {"vae": "video_vae", "text_encoder": "text_encoder_2", "transformer": "transformer"}
    rng = torch.Generator("cpu").manual_seed(SEED)
    for component, model in models.items():
        redraw(kinds[component], model.eval(), rng)
    return models


def save(models):
    """Weights are rounded as they are stored, here, too."""
    for component, model in models.items():
        path = os.path.join(MODEL, component)
        of_diffusers = component in ("transformer", "vae")
        model.save_config(path) if of_diffusers else model.config.save_pretrained(path)
        state = stored(model, "bf16", 4)
        model.load_state_dict({k: v.float() for k, v in state.items()})
        state.pop("encoder.embed_tokens.weight", None)
        if component == "vae":
            state = {k: v for k, v in state.items() if k.startswith("decoder.")}
        write_weights(path, "diffusion_pytorch_model" if of_diffusers else "model", state, 1)


def assemble(models):
    pipe = MochiPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(os.path.join(MODEL, "scheduler")),
        tokenizer=T5TokenizerFast.from_pretrained(os.path.join(MODEL, "tokenizer")),
        force_zeros_for_empty_prompt=MODEL_INDEX["force_zeros_for_empty_prompt"], **models)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tokens(latents, p):
    """[n, C, f, h, w] as tokens [n, tokens, C * p * p]."""
    n, c, f, h, w = latents.shape
    x = latents.reshape(n, c, f, h // p, p, w // p, p)
    return x.permute(0, 2, 3, 5, 1, 4, 6).reshape(n, -1, c * p * p)


@torch.no_grad()
def run(pipe, request, math=False, threads=2):
    """All stages of the request, of the transformer those of the first video at the first step. diffusers computes both halves at once, the negative one first."""
    stages, calls, lengths, n = {}, dict(forward=0), [], request["num_images"]
    patch, cfg = pipe.transformer.config.patch_size, request["guidance_scale"] > 1

    def keep(name, value):
        if value.numel():
            stages[name] = value.detach().float().clone()

    def keep_of_transformer(name, value):
        if calls["forward"] == 0:
            keep(name, value)

    def count(m, a, out):
        calls["forward"] += 1

    prepare, decode, embeds = pipe.prepare_latents, pipe.vae.decode, pipe._get_t5_prompt_embeds

    def prepare_latents(*a, **kw):
        latents = prepare(*a, **kw)
        keep("latents", tokens(latents, patch))
        return latents

    def vae_decode(z, *a, **kw):
        keep("vae.decode.in", z)
        out = decode(z, *a, **kw)
        keep("images", out[0].permute(0, 2, 1, 3, 4) * 0.5 + 0.5)
        return out

    def t5_embeds(*a, **kw):
        values, mask = embeds(*a, **kw)
        lengths.append(int(mask[0].sum()))
        keep("text.t5" + (".negative" if len(lengths) == 2 else ""), values[0, :lengths[-1]])
        return values, mask

    def step_end(p, i, t, kw):
        keep(f"step.{i}.latents", tokens(kw["latents"], patch))
        return kw

    arguments = {k: v for k, v in request.items() if k not in ("seed", "num_images")}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    pipe.prepare_latents, pipe.vae.decode, pipe._get_t5_prompt_embeds = prepare_latents, vae_decode, t5_embeds
    handle = pipe.transformer.register_forward_hook(count)
    # how long the text is turns out before the transformer runs
    length = type("", (), {"__index__": lambda self: lengths[0]})()
    with sdpa_kernel(SDPBackend.MATH) if math else contextlib.nullcontext():
        with recorded(pipe.transformer, keep_of_transformer, length, n if cfg else 0, "uncond.head" if cfg else None):
            out = pipe(**arguments, num_videos_per_prompt=n, output_type="pt", callback_on_step_end=step_end,
                       generator=torch.Generator("cpu").manual_seed(request["seed"]))
    handle.remove()
    pipe.prepare_latents, pipe.vae.decode, pipe._get_t5_prompt_embeds = prepare, decode, embeds
    torch.set_num_threads(before)
    assert torch.equal(out.frames.float(), stages["images"].clamp(0, 1))
    return stages


@torch.no_grad()
def settle_pixels(models):
    """Scales the decoder's last layer until the frames of all requests lie inside 0.04..0.96."""
    out = models["vae"].decoder.proj_out
    for _ in range(6):
        save(models)
        pipe = assemble(models)
        images = [run(pipe, c["request"])["images"] for c in REQUESTS.values()]
        images = torch.cat([i.transpose(1, 2).flatten(2).transpose(0, 1).flatten(1) for i in images], dim=1)  # [3, values]
        reach = (images - 0.5).abs().amax(dim=1)
        if reach.max() <= 0.46 and reach.min() > 0.36:
            return pipe
        low, high = images.amin(dim=1), images.amax(dim=1)
        factor = 0.86 / (high - low)
        out.bias.copy_(factor * (out.bias + 1 - low - high))
        out.weight.mul_(factor[:, None])
    raise SystemExit(f"pixels do not settle: reach {reach.tolist()}")


def write(name, config, pipe):
    folder = os.path.join(GOLDEN, name)
    base = run(pipe, config["request"])
    variants = [run(pipe, config["request"], math=True), run(pipe, config["request"], threads=1)]
    spread = {k: max(rel_l2(v[k], base[k]) for v in variants) for k in base}
    for k, v in base.items():
        assert torch.isfinite(v).all(), k
    images = base["images"]
    assert images.min() > 0 and images.max() < 1 and images.std() > 0.06, (images.min(), images.max(), images.std())
    kept = {k: v for k, v in base.items() if k not in config["drop"] and not k.startswith(DROPPED)}
    write_safetensors(os.path.join(folder, "reference.safetensors"), kept)
    defaults = dict(prompt_2=None, negative_prompt=None, true_cfg_scale=1.0)
    write_json(os.path.join(folder, "case.json"), dict(
        about=config["about"], **dict(defaults, **config["request"]), vae_tiling=False, timesteps=pipe.scheduler.timesteps.tolist(),
        sigmas=pipe.scheduler.sigmas.tolist(), spread={k: spread[k] for k in sorted(kept)}))
    worst = max(spread, key=spread.get)
    print(f"{name}: {folder_bytes(folder) / 1024:.0f} KiB, worst spread {spread[worst]:.2e} ({worst}), pixels {images.min():.3f}.."
          f"{images.max():.3f} std {images.std():.3f}", flush=True)
    for k in sorted(kept):
        print(f"  {k:34s} {str(list(kept[k].shape)):18s} rms {kept[k].pow(2).mean().sqrt():8.3f} spread {spread[k]:.1e}")


def main():
    pipe = settle_pixels(build())
    for name, config in REQUESTS.items():
        write(name, config, pipe)


if __name__ == "__main__":
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    diffusers_logging.disable_progress_bar()
    sys.exit(main())
