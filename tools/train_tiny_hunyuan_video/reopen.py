"""Turns an exported folder back into a state that train.py goes on from, at the start of a new schedule.

    python3 tools/train_tiny_hunyuan_video/reopen.py [--folder models/tiny-hunyuan-video] [--state /tmp/tiny-hunyuan-video] [--lr 0.001]

Writes STATE/vae.pt and STATE/dit.pt: the exported weights, no optimiser moments. `train.py dit` then trains on; the autoencoder
stays as it is, since the transformer knows its latents.
"""

import argparse
from pathlib import Path

import torch
from diffusers import AutoencoderKLHunyuanVideo, HunyuanVideoTransformer3DModel
from transformers import CLIPTextModel, LlamaModel

import shared  # noqa: F401
import run_state
from models import Denoiser
from train_dit import load_tokenizers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("models/tiny-hunyuan-video"))
    parser.add_argument("--state", type=Path, default=Path("/tmp/tiny-hunyuan-video"))
    parser.add_argument("--lr", type=float, default=0.001)
    options = parser.parse_args()
    vae = AutoencoderKLHunyuanVideo.from_pretrained(options.folder / "vae", torch_dtype=torch.float32)
    run_state.save({"weights": dict(vae.state_dict()), "progress": 1.0}, options.state / "vae.pt")
    denoiser = Denoiser(*load_tokenizers(options.folder))
    for name, kind in (("transformer", HunyuanVideoTransformer3DModel), ("text_encoder", LlamaModel), ("text_encoder_2", CLIPTextModel)):
        exported = kind.from_pretrained(options.folder / name, torch_dtype=torch.float32)
        getattr(denoiser, name).load_state_dict(exported.state_dict())
    value = torch.cat([p.detach().reshape(-1) for p in denoiser.parameters()])
    flat = {"value": value, "average": value.half(), "updates": 0, "typical_norm": 0.0, "moments": {}}
    run_state.save({"flat": flat, "step": 0, "progress": 0.0, "lr": options.lr}, options.state / "dit.pt")
    print(f"{options.state}: {len(value)} parameters from {options.folder}")


main()
