"""Writes what train.py learnt as a diffusers HunyuanVideoPipeline folder in float16: `export.py --state STATE`."""

import argparse
import json
import shutil
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, HunyuanVideoPipeline

import shared  # noqa: F401
import folders
import make_tokenizers
import run_state
from models import Denoiser
from own_size import write_own_size
from train_dit import SHIFT, load_tokenizers
from train_vae import load_vae

LIMIT = 3 << 20
PARTS = ("vae", "text_encoder", "text_encoder_2", "transformer")


def build(state_folder, tokenizers):
    """The pipeline in float32 with the averaged weights as float16 holds them."""
    tokenizer, tokenizer_2 = load_tokenizers(tokenizers)
    denoiser = Denoiser(tokenizer, tokenizer_2)
    weights = run_state.load(state_folder / "dit-average.pt")["weights"]
    for name, module in denoiser.named_children():
        module.load_state_dict(weights[name])
    vae, _ = load_vae(state_folder, "cpu")
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=SHIFT)
    return HunyuanVideoPipeline(denoiser.text_encoder, tokenizer, denoiser.transformer, vae, scheduler, denoiser.text_encoder_2, tokenizer_2)


def as_on_the_hub(folder, tokenizers):
    """Undoes what differs from HunyuanVideo's files in what today's transformers saves."""
    for name in ("tokenizer", "tokenizer_2"):
        shutil.rmtree(folder / name)
        shutil.copytree(tokenizers / name, folder / name)
    folders.clip_as_on_the_hub(folder / "text_encoder_2" / "model.safetensors")
    index = folder / "model_index.json"
    classes = json.loads(index.read_text())
    # Not LlamaTokenizerFast, which in transformers 5 does not read tokenizer.json as it stands.
    classes["tokenizer"], classes["tokenizer_2"] = ["transformers", "PreTrainedTokenizerFast"], ["transformers", "CLIPTokenizer"]
    index.write_text(json.dumps(classes, indent=2) + "\n")


def confirm(folder, state_folder, tokenizers):
    """Loads the folder as a user would: every weight must come back as it was saved, and the tokenizer as it was made."""
    loaded = HunyuanVideoPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    meant = build(state_folder, tokenizers)
    folders.confirm_weights(loaded, meant, PARTS)
    prompt = "A red heart moving left on a white background."
    for name in ("tokenizer", "tokenizer_2"):
        if getattr(loaded, name)(prompt)["input_ids"] != getattr(meant, name)(prompt)["input_ids"]:
            raise SystemExit(f"{name} gives other ids than the one that was trained with")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, default=Path("/tmp/tiny-hunyuan-video"))
    parser.add_argument("--folder", type=Path, default=Path("models/tiny-hunyuan-video"))
    parser.add_argument("--tokenizers", type=Path, default=make_tokenizers.MADE)
    options = parser.parse_args()
    pipeline = build(options.state, options.tokenizers)
    folders.to_half(getattr(pipeline, name) for name in PARTS)
    pipeline.save_pretrained(options.folder, safe_serialization=True)
    as_on_the_hub(options.folder, options.tokenizers)
    write_own_size(options.folder)
    confirm(options.folder, options.state, options.tokenizers)
    files = [path for path in sorted(options.folder.rglob("*")) if path.is_file()]
    for path in files:
        print(f"{path.stat().st_size:9d} {path.relative_to(options.folder)}")
    size = sum(path.stat().st_size for path in files)
    print(f"{size} bytes in all, {LIMIT} allowed")
    if size > LIMIT:
        raise SystemExit("too large")


if __name__ == "__main__":
    main()
