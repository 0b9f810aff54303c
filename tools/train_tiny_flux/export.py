"""Writes what train.py learnt as a diffusers FluxPipeline folder in float16: `export.py --state STATE`."""

import argparse
import json
import shutil
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline
from transformers import CLIPTokenizer, T5TokenizerFast

import shared  # noqa: F401
import folders
import make_tokenizers
import run_state
from models import Denoiser
from train_vae import load_vae

LIMIT = 13 << 20
PARTS = ("vae", "text_encoder", "text_encoder_2", "transformer")


def build(state_folder, tokenizers):
    """The pipeline in float32 with the averaged weights as float16 holds them."""
    tokenizer = CLIPTokenizer.from_pretrained(tokenizers / "tokenizer")
    tokenizer_2 = T5TokenizerFast.from_pretrained(tokenizers / "tokenizer_2")
    denoiser = Denoiser(tokenizer, tokenizer_2)
    weights = run_state.load(state_folder / "dit-average.pt")["weights"]
    for name, module in denoiser.named_children():
        module.load_state_dict(weights[name])
    vae, _ = load_vae(state_folder, "cpu")
    scheduler = FlowMatchEulerDiscreteScheduler(
        num_train_timesteps=1000, shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, base_image_seq_len=256,
        max_image_seq_len=4096)
    return FluxPipeline(scheduler, vae, denoiser.text_encoder, tokenizer, denoiser.text_encoder_2, tokenizer_2,
                        denoiser.transformer)


def as_on_the_hub(folder, tokenizers):
    """Undoes what differs from FLUX.1-dev's files in what today's transformers saves."""
    for name in ("tokenizer", "tokenizer_2"):  # without vocab.json, merges.txt and spiece.model
        shutil.rmtree(folder / name)
        shutil.copytree(tokenizers / name, folder / name)
    folders.clip_as_on_the_hub(folder / "text_encoder" / "model.safetensors")
    index = folder / "model_index.json"
    classes = json.loads(index.read_text())
    classes["tokenizer_2"] = ["transformers", "T5TokenizerFast"]
    make_tokenizers.write_json(index, classes)


def confirm(folder, state_folder, tokenizers):
    """Loads the folder as a user would: every weight must come back as it was saved."""
    loaded = FluxPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    meant = build(state_folder, tokenizers)
    folders.confirm_weights(loaded, meant, PARTS)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, default=Path("/tmp/tiny-flux"))
    parser.add_argument("--folder", type=Path, default=Path("models/tiny-flux"))
    parser.add_argument("--tokenizers", type=Path, default=make_tokenizers.MADE)
    options = parser.parse_args()
    pipeline = build(options.state, options.tokenizers)
    folders.to_half(getattr(pipeline, name) for name in PARTS)
    pipeline.save_pretrained(options.folder, safe_serialization=True)
    as_on_the_hub(options.folder, options.tokenizers)
    confirm(options.folder, options.state, options.tokenizers)
    for path in sorted(options.folder.rglob("*")):
        if path.is_file():
            print(f"{path.stat().st_size:9d} {path.relative_to(options.folder)}")
    size = sum(path.stat().st_size for path in options.folder.rglob("*") if path.is_file())
    print(f"{size} bytes in all, {LIMIT} allowed")
    if size > LIMIT:
        raise SystemExit("too large")


if __name__ == "__main__":
    main()
