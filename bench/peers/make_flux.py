"""Writes a random checkpoint of a config: a folder that diffusers and para read.

    python3 bench/peers/make_flux.py bench/configs/flux.1-dev OUT [--components transformer] [--tokenizers models/tiny-flux] [--device cuda]

Weights are drawn so that errors show (default ones hide them: attention near uniform, norm scales of 1): gains and scales are those of the small reference
models of tools/reference. SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import re
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

# Gain over 1 / sqrt(inputs) of matrices whose name matches; the first match counts.
GAINS = {
    "transformer": [(r"norm.*linear", 0.8), (r"attn\.(to_out|to_add_out)", 1.5), (r"ff.*net\.2", 0.7), (r"single.*proj_out", 2.0),
                    (r"(timestep|guidance|text)_embedder\.linear", 1.6), (r"attn\.", 1.3)],
    "vae": [(r"to_(q|k)$", 1.5), (r"to_(v|out)", 1.8), (r"decoder.conv_in$", 0.2), (r"conv2$", 1.5), (r"conv_shortcut$", 0.7),
            (r"samplers", 0.7), (r"", 1.2)],
    "text_encoder": [(r"(q|k)_proj", 1.8), (r"(v|out)_proj", 1.5)],
    "text_encoder_2": [(r"SelfAttention\.(v|o)$", 1.5)],
}


def gain_of(component, name, config):
    if component == "text_encoder_2" and re.search(r"SelfAttention\.(q|k)$", name):
        return (1.6 / config.d_kv**0.5) ** 0.5  # T5 does not scale q·k
    return next((gain for pattern, gain in GAINS[component] if re.search(pattern, name)), 1.0)


@torch.no_grad()
def redraw(component, model):
    for name, module in model.named_modules():
        params = dict(module.named_parameters(recurse=False))
        weight, bias = params.get("weight"), params.get("bias")
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            weight.normal_(0, gain_of(component, name, model.config) / weight[0].numel() ** 0.5)
        elif isinstance(module, nn.Embedding):
            weight.normal_(0, 0.5 if "position_embedding" in name else 1.0)
        elif weight is not None:
            weight.uniform_(*((1.2, 2.0) if re.search(r"norm_(added_)?[qk]$", name) else (0.5, 1.5)))
        if bias is not None:
            bias.normal_(0, 0.1)


BUILD = {
    "transformer": lambda c: FluxTransformer2DModel.from_config(c),
    "vae": lambda c: AutoencoderKL.from_config(c),
    "text_encoder": lambda c: CLIPTextModel(CLIPTextConfig.from_dict(c)),
    "text_encoder_2": lambda c: T5EncoderModel(T5Config.from_dict(c)),
}


def write(component, config, out, device, dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    with torch.device(device):
        model = BUILD[component](json.loads((config / "config.json").read_text())).to(dtype)
    torch.set_default_dtype(before)
    redraw(component, model)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(config / "config.json", out)
    name = "model" if component.startswith("text") else "diffusion_pytorch_model"
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    if component == "text_encoder_2":
        state.pop("encoder.embed_tokens.weight", None)  # the same as shared.weight
    save_file(state, out / f"{name}.safetensors", metadata={"format": "pt"})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--components", default=",".join(BUILD))
    parser.add_argument("--tokenizers", type=Path, help="pipeline folder whose tokenizers are taken")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16")
    a = parser.parse_args()
    torch.manual_seed(1)
    shutil.copytree(a.config, a.out, dirs_exist_ok=True)
    for name in ("tokenizer", "tokenizer_2") if a.tokenizers else ():
        shutil.copytree(a.tokenizers / name, a.out / name, dirs_exist_ok=True)
    for component in a.components.split(","):
        write(component, a.config / component, a.out / component, a.device, getattr(torch, a.dtype))


if __name__ == "__main__":
    main()
