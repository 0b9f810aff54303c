"""Writes a random checkpoint of a config: a folder that diffusers and para read.

    python3 bench/peers/make_weights.py bench/configs/flux.1-dev OUT [--components transformer] [--tokenizers models/tiny-flux] [--device cuda]

Weights are drawn so that errors show (default ones hide them: attention near uniform, norm scales of 1): gains and scales are those of the small reference
models of tools/reference. SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import re
import shutil
import sys
import time
from pathlib import Path

import diffusers
import torch
import transformers
from safetensors.torch import save_file
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools" / "reference"))
from flux_weights import gain_of  # noqa: E402


def gain(kind, name, config):
    if kind == "text_encoder_2" and re.search(r"SelfAttention\.(q|k)$", name):
        return (1.6 / config.d_kv**0.5) ** 0.5  # T5 does not scale q·k
    return gain_of(kind, name)


@torch.no_grad()
def redraw(kind, model):
    for name, module in model.named_modules():
        params = dict(module.named_parameters(recurse=False))
        weight, bias = params.get("weight"), params.get("bias")
        if "pos_frequencies" in params:
            params["pos_frequencies"].normal_(0, 1)
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv3d)):
            weight.normal_(0, gain(kind, name, model.config) / weight[0].numel() ** 0.5)
        elif isinstance(module, nn.Embedding):
            weight.normal_(0, 0.5 if "position_embedding" in name else 1.0)
        elif weight is not None:
            weight.uniform_(*((1.2, 2.0) if re.search(r"norm_(added_)?[qk]$", name) else (0.5, 1.5)))
        if bias is not None:
            bias.normal_(0, 0.1)


def build(library, name, config):
    """A model of the class, with its default weights."""
    if library == "diffusers":
        return getattr(diffusers, name).from_config(config)
    cls = getattr(transformers, name)
    return cls(cls.config_class.from_dict(config))


def kind_of(component, name):
    """Which gains it is drawn with."""
    if component == "vae" and name != "AutoencoderKL":
        return "video_vae"
    return {"T5EncoderModel": "text_encoder_2", "LlamaModel": "llama"}.get(name, "text_encoder") if component.startswith("text") else component


def write(component, library, name, config, out, device, dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    with torch.device(device):
        model = build(library, name, json.loads((config / "config.json").read_text())).to(dtype)
    torch.set_default_dtype(before)
    redraw(kind_of(component, name), model)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(config / "config.json", out)
    state = {key: value.contiguous() for key, value in model.state_dict().items()}
    if name == "T5EncoderModel":
        state.pop("encoder.embed_tokens.weight", None)  # the same as shared.weight
    file = "model" if library == "transformers" else "diffusion_pytorch_model"
    save_file(state, out / f"{file}.safetensors", metadata={"format": "pt"})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--components", help="with commas between (all)")
    parser.add_argument("--tokenizers", type=Path, help="pipeline folder whose tokenizers are taken")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16")
    a = parser.parse_args()
    torch.manual_seed(1)
    shutil.copytree(a.config, a.out, dirs_exist_ok=True)
    for tokenizer in sorted(a.tokenizers.glob("tokenizer*")) if a.tokenizers else ():
        shutil.copytree(tokenizer, a.out / tokenizer.name, dirs_exist_ok=True)
    classes = {name: value for name, value in json.loads((a.config / "model_index.json").read_text()).items() if isinstance(value, list)}
    models = [name for name in classes if (a.config / name / "config.json").exists()]
    for component in a.components.split(",") if a.components else models:
        start = time.perf_counter()
        write(component, *classes[component], a.config / component, a.out / component, a.device, getattr(torch, a.dtype))
        print(f"{a.out / component}: {time.perf_counter() - start:.0f} s", flush=True)


main()
