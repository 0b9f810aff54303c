"""Helpers that every generator shares: rounding, errors, files that come out the same each time."""

import json
import os

import torch
from safetensors.torch import save_file

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GOLDEN = os.path.join(ROOT, "tests", "golden")
DATA = os.path.join(ROOT, "tests", "data")


def rel_l2(got, want):
    """Relative L2 error in float64; the norm of `got` where `want` is all zeros."""
    got, want = got.double(), want.double()
    norm = want.norm().item()
    return (got - want).norm().item() / (norm if norm > 0 else 1.0)


def keep_bits(tensor, bits):
    """Rounds float32 to `bits` explicit mantissa bits, so that files of random weights compress."""
    if bits >= 23:
        return tensor
    drop = 23 - bits
    as_int = tensor.contiguous().view(torch.int32).to(torch.int64)
    rounded = ((as_int + (1 << (drop - 1))) >> drop) << drop
    return rounded.to(torch.int32).view(torch.float32)


def write_json(path, value, indent=1):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=indent, ensure_ascii=False)
        f.write("\n")


def write_safetensors(path, tensors, metadata=None):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    save_file({k: tensors[k].contiguous() for k in sorted(tensors)}, path, metadata=metadata)
    os.chmod(path, 0o644)


def write_weights(folder, base, tensors, shards):
    """One file `base.safetensors`, or `shards` files with the index that diffusers and transformers read."""
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(folder):
        if ".safetensors" in name:
            os.remove(os.path.join(folder, name))
    names = sorted(tensors)
    if shards == 1:
        write_safetensors(os.path.join(folder, base + ".safetensors"), tensors, {"format": "pt"})
        return
    total = sum(tensors[n].numel() * tensors[n].element_size() for n in names)
    weight_map, parts, size = {}, [[] for _ in range(shards)], 0
    for name in names:
        own = tensors[name].numel() * tensors[name].element_size()
        parts[min(shards - 1, (2 * size + own) * shards // (2 * total))].append(name)
        size += own
    for i, part in enumerate(parts):
        file = f"{base}-{i + 1:05d}-of-{shards:05d}.safetensors"
        write_safetensors(os.path.join(folder, file), {n: tensors[n] for n in part}, {"format": "pt"})
        weight_map.update({n: file for n in part})
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    write_json(os.path.join(folder, base + ".safetensors.index.json"), index)


def folder_bytes(path):
    return sum(os.path.getsize(os.path.join(d, f)) for d, _, files in os.walk(path) for f in files)
