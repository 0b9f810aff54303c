"""Turns an exported folder back into a state that train.py goes on from, at the start of a new schedule.

    python3 tools/train_tiny_hunyuan_video/reopen.py [--folder models/tiny-hunyuan-video] [--state /tmp/tiny-hunyuan-video] [--lr 0.001]

Writes STATE/vae.pt and STATE/dit.pt: the exported weights, no optimiser moments. `train.py dit` then trains on. `train.py vae` before it
refines the autoencoder: latents change little, and the transformer learns them anew from what it knows.
"""

import argparse
from pathlib import Path

import torch
from diffusers import AutoencoderKLHunyuanVideo, HunyuanVideoTransformer3DModel
from transformers import CLIPTextModel, LlamaModel

import shared  # noqa: F401
import folders
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
    kinds = {"transformer": HunyuanVideoTransformer3DModel, "text_encoder": LlamaModel, "text_encoder_2": CLIPTextModel}
    folders.reopen(denoiser, kinds, options.folder, options.state, options.lr)


main()
