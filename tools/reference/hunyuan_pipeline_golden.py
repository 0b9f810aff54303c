"""Writes tests/golden/hunyuan-video, a whole HunyuanVideoPipeline folder with redrawn weights, and its requests' stages and frames:
reference.safetensors and case.json there, and those of more requests of the same model in folders of their own.

usage: hunyuan_pipeline_golden.py
"""

import contextlib
import os
import shutil
import sys

import torch
from diffusers import AutoencoderKLHunyuanVideo, FlowMatchEulerDiscreteScheduler, HunyuanVideoPipeline, HunyuanVideoTransformer3DModel
from diffusers.utils import logging as diffusers_logging
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from captions import LONG, captions
from clip_bpe import END, START, write_clip_folder
from common import GOLDEN, folder_bytes, rel_l2, write_json, write_safetensors, write_weights
from flux_weights import redraw, stored
from hunyuan_video_configs import transformer
from hunyuan_video_run import recorded
from llama_tokenizer import write_llama_folder

MODEL = os.path.join(GOLDEN, "hunyuan-video")
SEED = 41
MODEL_INDEX = {
    "_class_name": "HunyuanVideoPipeline", "_diffusers_version": "0.32.0.dev0",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "LlamaModel"], "text_encoder_2": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "LlamaTokenizerFast"], "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "transformer": ["diffusers", "HunyuanVideoTransformer3DModel"], "vae": ["diffusers", "AutoencoderKLHunyuanVideo"],
}
# Requests: folder to write, what is left out for size.
REQUESTS = {
    "hunyuan-video": dict(
        about="guidance, two videos of 5 frames from one generator, a prompt_2 that diffusers does not look at",
        request=dict(prompt="a red heart moving left on a white background", prompt_2="nobody reads this", height=32, width=48,
                     num_frames=5, num_inference_steps=3, guidance_scale=6.0, seed=7, num_images=2, max_sequence_length=24),
        drop=("step.0.latents", "step.1.latents"),
    ),
    "hunyuan-video-cfg": dict(
        about="true CFG whose halves have texts of other lengths, a prompt that is cut; 21 frames, which the VAE cuts in time",
        request=dict(prompt=LONG, negative_prompt="blurred", true_cfg_scale=2.5, height=32, width=16, num_frames=21,
                     num_inference_steps=2, guidance_scale=1.5, seed=1234567, num_images=1, max_sequence_length=40),
        drop=(),
    ),
}
DROPPED = ("block.",)  # tests/golden/hunyuan-guided and others have these


def build():
    shutil.rmtree(MODEL, ignore_errors=True)
    join = lambda *p: os.path.join(MODEL, *p)
    write_json(join("model_index.json"), MODEL_INDEX)
    FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=7.0).save_pretrained(join("scheduler"))
    llama_vocab = write_llama_folder(join("tokenizer"), captions(), 90)
    clip_vocab = write_clip_folder(join("tokenizer_2"), captions(), merges=60)
    clip = dict(hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=77,
                hidden_act="quick_gelu", projection_dim=24, vocab_size=len(clip_vocab), eos_token_id=clip_vocab[END],
                bos_token_id=clip_vocab[START], pad_token_id=1)
    llama = dict(vocab_size=len(llama_vocab) + 8, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
                 num_key_value_heads=2, rms_norm_eps=1e-5, max_position_embeddings=512)
    models = {
        "transformer": HunyuanVideoTransformer3DModel(**transformer(
            num_attention_heads=2, attention_head_dim=16, rope_axes_dim=[2, 6, 8], num_layers=1, num_single_layers=1,
            num_refiner_layers=1, text_embed_dim=32, pooled_projection_dim=24)),
        "vae": AutoencoderKLHunyuanVideo(latent_channels=4, block_out_channels=(4, 4, 8, 8), layers_per_block=1, norm_num_groups=2,
                                         scaling_factor=0.476986),
        "text_encoder": LlamaModel(LlamaConfig(**llama)),
        "text_encoder_2": CLIPTextModel(CLIPTextConfig(**clip)),
    }
    kinds = {"vae": "video_vae", "text_encoder": "llama", "text_encoder_2": "text_encoder", "transformer": "transformer"}
    rng = torch.Generator("cpu").manual_seed(SEED)
    for component, model in models.items():
        redraw(kinds[component], model.eval(), rng)
    return models


def save(models):
    for component, model in models.items():
        path = os.path.join(MODEL, component)
        of_diffusers = component in ("transformer", "vae")
        model.save_config(path) if of_diffusers else model.config.save_pretrained(path)
        state = stored(model, "bf16", 4)
        if component == "text_encoder_2":  # the hub's files have this prefix
            state = {"text_model." + k: v for k, v in state.items()}
        write_weights(path, "diffusion_pytorch_model" if of_diffusers else "model", state, 1)


def load(dtype=torch.float32):
    """The tokenizer is loaded as PreTrainedTokenizerFast (README.md says why)."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(os.path.join(MODEL, "tokenizer"))
    pipe = HunyuanVideoPipeline.from_pretrained(MODEL, tokenizer=tokenizer, dtype=dtype)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tokens(latents, t):
    """[n, C, f, h, w] as tokens [n, tokens, C * p_t * p * p]."""
    n, c, f, h, w = latents.shape
    p_t, p = t.config.patch_size_t, t.config.patch_size
    x = latents.reshape(n, c, f // p_t, p_t, h // p, p, w // p, p)
    return x.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(n, -1, c * p_t * p * p)


@torch.no_grad()
def run(pipe, request, math=False, threads=2):
    """All stages of the request, of the transformer those of the first video at the first step."""
    stages, calls, lengths = {}, dict(forward=0, llama=0, clip=0), []

    def keep(name, value):
        stages[name] = value.detach().float().clone()

    def keep_of_transformer(name, value):
        if calls["forward"] == 0:
            keep(name, value)
        elif calls["forward"] == 1 and name == "head" and len(lengths) == 2:
            keep("uncond.head", value)

    def count(m, a, out):
        calls["forward"] += 1

    def pooled(m, a, out):
        keep("text.clip" + (".negative" if calls["clip"] else ""), out.pooler_output[0])
        calls["clip"] += 1

    prepare, decode, llama = pipe.prepare_latents, pipe.vae.decode, pipe._get_llama_prompt_embeds

    def prepare_latents(*a, **kw):
        latents = prepare(*a, **kw)
        keep("latents", tokens(latents, pipe.transformer))
        return latents

    def vae_decode(z, *a, **kw):
        keep("vae.decode.in", z)
        out = decode(z, *a, **kw)
        keep("images", out[0].permute(0, 2, 1, 3, 4) * 0.5 + 0.5)
        return out

    def llama_embeds(*a, **kw):
        values, mask = llama(*a, **kw)
        lengths.append(int(mask[0].sum()))
        keep("text.llama" + (".negative" if len(lengths) == 2 else ""), values[0, :lengths[-1]])
        return values, mask

    def step_end(p, i, t, kw):
        keep(f"step.{i}.latents", tokens(kw["latents"], pipe.transformer))
        return kw

    arguments = {k: v for k, v in request.items() if k not in ("seed", "num_images")}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    pipe.prepare_latents, pipe.vae.decode, pipe._get_llama_prompt_embeds = prepare_latents, vae_decode, llama_embeds
    handles = [pipe.transformer.register_forward_hook(count), pipe.text_encoder_2.register_forward_hook(pooled)]
    # how long the text is turns out before the transformer runs
    length = type("", (), {"__index__": lambda self: lengths[0]})()
    with sdpa_kernel(SDPBackend.MATH) if math else contextlib.nullcontext():
        with recorded(pipe.transformer, keep_of_transformer, length):
            out = pipe(**arguments, num_videos_per_prompt=request["num_images"], output_type="pt", callback_on_step_end=step_end,
                       generator=torch.Generator("cpu").manual_seed(request["seed"]))
    for h in handles:
        h.remove()
    pipe.prepare_latents, pipe.vae.decode, pipe._get_llama_prompt_embeds = prepare, decode, llama
    torch.set_num_threads(before)
    assert torch.equal(out.frames.float(), stages["images"].clamp(0, 1))
    return stages


@torch.no_grad()
def settle_pixels(models):
    """Scales the decoder's last convolution until the frames of all requests lie inside 0.04..0.96."""
    out = models["vae"].decoder.conv_out.conv
    for _ in range(6):
        save(models)
        pipe = load()
        images = [run(pipe, c["request"])["images"] for c in REQUESTS.values()]
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
