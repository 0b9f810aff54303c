"""Redraws every parameter of a pipeline so that an error in any one of them shows (design, section 8)."""

import re

import torch
from torch import nn

from common import keep_bits

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "f8": torch.float8_e4m3fn}

# Gain over 1/sqrt(fan_in) of matrices whose name matches; the first match counts.
GAINS = {
    "transformer": [
        (r"norm.*linear", 0.8), (r"attn1?\.(to_out|to_add_out)", 1.5), (r"ff.*net\.2", 0.7),
        (r"single.*proj_out", 2.0), (r"((timestep|guidance|text)_embedder|time_embedding)\.linear", 1.6), (r"attn1?\.", 1.3),
    ],
    "vae": [
        (r"to_(q|k)$", 1.5), (r"to_(v|out)", 1.8), (r"decoder.conv_in$", 0.2), (r"conv2$", 1.5),
        (r"conv_shortcut$", 0.7), (r"samplers", 0.7), (r"", 1.2),
    ],
    "video_vae": [
        (r"to_(q|k)$", 1.5), (r"to_(v|out)", 1.8), (r"conv2", 1.5), (r"conv_shortcut", 0.7), (r"samplers", 0.7), (r"", 1.2),
    ],
    "text_encoder": [(r"(q|k)_proj", 1.8), (r"(v|out)_proj", 1.5)],
    "llama": [(r"(q|k)_proj", 1.6), (r"(v|o)_proj", 1.5)],
    "text_encoder_2": [(r"SelfAttention\.(v|o)$", 1.5)],
}


def gain_of(component, name):
    for pattern, gain in GAINS[component]:
        if re.search(pattern, name):
            return gain
    return 1.0


@torch.no_grad()
def redraw(component, model, rng):
    uniform = lambda p, a, b: p.copy_(torch.rand(p.shape, generator=rng) * (b - a) + a)
    normal = lambda p, std: p.copy_(torch.randn(p.shape, generator=rng) * std)
    done = set()
    for name, module in sorted(model.named_modules()):
        params = dict(module.named_parameters(recurse=False))
        if not params:
            continue
        weight, bias = params.get("weight"), params.get("bias")
        if "pos_frequencies" in params:
            normal(params["pos_frequencies"], 1.0)
            done.add(id(params["pos_frequencies"]))
            continue
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.Conv3d)):
            fan_in = weight[0].numel()
            gain = gain_of(component, name)
            if component == "text_encoder_2" and re.search(r"SelfAttention\.(q|k)$", name):
                gain = (1.6 / model.config.d_kv**0.5) ** 0.5  # T5 does not scale q.k: its spread becomes 1.6
            if component == "transformer" and weight.numel() > 4096:
                # Half of the entries are zero, which halves what these files cost in git.
                normal(weight, gain / (fan_in / 2) ** 0.5)
                weight.mul_(torch.rand(weight.shape, generator=rng) < 0.5)
            else:
                normal(weight, gain / fan_in**0.5)
        elif isinstance(module, nn.Embedding):
            normal(weight, 0.5 if "position_embedding" in name else 1.0)
        elif re.search(r"norm_(added_)?[qk]$", name):
            uniform(weight, 1.2, 2.0)
        else:
            assert "norm" in name, name
            uniform(weight, 0.5, 1.5)
        if bias is not None:
            normal(bias, 0.1)
        done.update(id(p) for p in params.values())
    assert done == {id(p) for p in model.parameters()}


def stored(model, storage, bits):
    """State as it goes to the file: matrices rounded to `bits` mantissa bits, then all to the storage type."""
    out = {}
    for name, p in model.state_dict().items():
        p = p.detach().float().clone()
        matrix = p.dim() > 1 and p.numel() > 256
        if storage == "f8" and not matrix:
            out[name] = p
            continue
        out[name] = (keep_bits(p, bits) if matrix else p).to(DTYPES[storage])
    return out
