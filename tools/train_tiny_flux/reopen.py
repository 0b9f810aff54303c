"""Turns an exported folder back into a state that train.py goes on from, at the start of a new schedule.

    python3 tools/train_tiny_flux/reopen.py [--folder models/tiny-flux] [--state /tmp/tiny-flux] [--lr 0.001]

Writes STATE/vae.pt and STATE/dit.pt: the exported weights, no optimiser moments. `train.py dit` then trains on; the autoencoder
stays as it is, since the transformer knows its latents.
"""

import argparse
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5TokenizerFast

import shared  # noqa: F401
import folders
import run_state
from models import Denoiser


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("models/tiny-flux"))
    parser.add_argument("--state", type=Path, default=Path("/tmp/tiny-flux"))
    parser.add_argument("--lr", type=float, default=0.001)
    options = parser.parse_args()
    vae = AutoencoderKL.from_pretrained(options.folder / "vae", torch_dtype=torch.float32)
    run_state.save({"weights": dict(vae.state_dict()), "scaling_factor": vae.config.scaling_factor,
                    "shift_factor": vae.config.shift_factor, "psnr_emoji": 0.0, "psnr_picture": 0.0}, options.state / "vae.pt")
    denoiser = Denoiser(CLIPTokenizer.from_pretrained(options.folder / "tokenizer"),
                        T5TokenizerFast.from_pretrained(options.folder / "tokenizer_2"))
    kinds = {"transformer": FluxTransformer2DModel, "text_encoder": CLIPTextModel, "text_encoder_2": T5EncoderModel}
    folders.reopen(denoiser, kinds, options.folder, options.state, options.lr)


main()
