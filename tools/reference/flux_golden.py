"""Writes tests/golden/flux-*: model folders with redrawn weights, reference.safetensors and case.json.

usage: flux_golden.py [CONFIG ...]
"""

import os
import shutil
import sys

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from diffusers.utils import logging as diffusers_logging
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel
from transformers.utils import logging as transformers_logging

from captions import captions
from clip_bpe import END, START, write_clip_folder
from common import folder_bytes, rel_l2, write_json, write_safetensors, write_weights
from flux_configs import CONFIGS
from flux_run import golden_folder, load, run
from flux_weights import redraw, stored
from t5_unigram import write_t5_folder

MODEL_INDEX = {
    "_class_name": "FluxPipeline", "_diffusers_version": "0.30.0.dev0",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"], "text_encoder_2": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"], "tokenizer_2": ["transformers", "T5TokenizerFast"],
    "transformer": ["diffusers", "FluxTransformer2DModel"], "vae": ["diffusers", "AutoencoderKL"],
}


def build(name, config):
    """The diffusers folder, without reference."""
    folder = golden_folder(name)
    shutil.rmtree(folder, ignore_errors=True)
    join = lambda *p: os.path.join(folder, *p)
    write_json(join("model_index.json"), MODEL_INDEX)
    FlowMatchEulerDiscreteScheduler(**config["scheduler"]).save_pretrained(join("scheduler"))
    vocab = write_clip_folder(join("tokenizer"), captions(), **config["tokenizer"])
    write_t5_folder(join("tokenizer_2"), captions(), normalization_rule_name="identity", **config["tokenizer_2"])

    rng = torch.Generator("cpu").manual_seed(config["seed"])
    clip = dict(config["text_encoder"], vocab_size=len(vocab))
    if clip["eos_token_id"] == "modern":
        clip.update(eos_token_id=vocab[END], bos_token_id=vocab[START])
    models = {
        "transformer": FluxTransformer2DModel(**config["transformer"]),
        "vae": AutoencoderKL(**config["vae"]),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**clip)),
        "text_encoder_2": T5EncoderModel(T5Config(**config["text_encoder_2"])),
    }
    for component, model in models.items():
        redraw(component, model.eval(), rng)
    return folder, models


def save(folder, models, config):
    storage, bits, shards = config["storage"], config["bits"], config["shards"]
    for component, model in models.items():
        path = os.path.join(folder, component)
        model.save_config(path) if component in ("transformer", "vae") else model.config.save_pretrained(path)
        state = stored(model, "bf16" if storage == "f8" and component != "transformer" else storage,
                       max(bits, 4))
        if component == "text_encoder":  # the hub's files have this prefix
            state = {"text_model." + k: v for k, v in state.items()}
        if component == "text_encoder_2":
            state.pop("encoder.embed_tokens.weight", None)
        base = "diffusion_pytorch_model" if component in ("transformer", "vae") else "model"
        write_weights(path, base, state, shards if component in ("transformer", "text_encoder_2") else 1)


@torch.no_grad()
def settle_pixels(folder, models, config):
    """Scales the decoder's last convolution until the picture of the request lies inside 0.04..0.96."""
    out = models["vae"].decoder.conv_out
    for _ in range(4):
        save(folder, models, config)
        images = run(load(folder, tiling=config.get("tiling", False)), config)["images"]
        reach = (images - 0.5).abs().amax(dim=(0, 2, 3))  # per channel
        if reach.max() <= 0.46 and reach.min() > 0.36:
            return
        low, high = images.amin(dim=(0, 2, 3)), images.amax(dim=(0, 2, 3))
        factor = 0.86 / (high - low)
        out.bias.copy_(factor * (out.bias + 1 - low - high))
        out.weight.mul_(factor[:, None, None, None])
    raise SystemExit(f"pixels do not settle: reach {reach.tolist()}")


def main(names):
    for name in names:
        config = CONFIGS[name]
        folder, models = build(name, config)
        settle_pixels(folder, models, config)
        tiling = config.get("tiling", False)
        pipe = load(folder, tiling=tiling)
        base = run(pipe, config)
        variants = {"math attention": run(pipe, config, math=True), "1 thread": run(pipe, config, threads=1)}
        spread = {k: max(rel_l2(v[k], base[k]) for v in variants.values()) for k in base}
        for k, v in base.items():
            assert torch.isfinite(v).all(), k
        images = base["images"]
        assert images.min() > 0 and images.max() < 1 and images.std() > 0.06, (images.min(), images.max(), images.std())
        kept = {k: v for k, v in base.items() if k not in config.get("drop", ())}
        write_safetensors(os.path.join(folder, "reference.safetensors"), kept)
        defaults = dict(prompt_2=None, negative_prompt=None, true_cfg_scale=1.0)
        case = dict(about=config["about"], **dict(defaults, **config["request"]), vae_tiling=tiling,
                    timesteps=pipe.scheduler.timesteps.tolist(), sigmas=pipe.scheduler.sigmas.tolist(),
                    spread={k: spread[k] for k in sorted(kept)})
        write_json(os.path.join(folder, "case.json"), case)
        worst = max(spread, key=spread.get)
        print(f"{name}: {folder_bytes(folder) / 1024:.0f} KiB, worst spread {spread[worst]:.2e} ({worst}), pixels "
              f"{images.min():.3f}..{images.max():.3f} std {images.std():.3f}", flush=True)
        for k in sorted(kept):
            print(f"  {k:34s} {str(list(kept[k].shape)):18s} rms {kept[k].pow(2).mean().sqrt():8.3f} spread {spread[k]:.1e}")


if __name__ == "__main__":
    transformers_logging.disable_progress_bar()
    diffusers_logging.disable_progress_bar()
    main(sys.argv[1:] or list(CONFIGS))
