"""Writes tests/data/dtypes: F32, F16, BF16 and F8_E4M3 files in one and in three shards, and torch's conversions.

one/model.safetensors and three/model-*.safetensors (with index) hold the same tensors; expected.safetensors holds them
converted to float32 by torch, to be compared bit by bit, NaN as NaN. rounding.safetensors holds `float32` and what torch
rounds it to: `bfloat16`, `float16`.
"""

import os
import shutil

import torch

from common import DATA, write_safetensors, write_weights


def codes(total_bits, mantissa_bits, mantissas, dtype):
    """Both signs and all exponents with a few mantissas."""
    exponents = 1 << (total_bits - 1 - mantissa_bits)
    bits = [(s << (total_bits - 1)) | (e << mantissa_bits) | m
            for s in (0, 1) for e in range(exponents) for m in mantissas]
    signed = [b - (1 << total_bits) if b >> (total_bits - 1) else b for b in bits]
    return torch.tensor(signed, dtype=torch.int16).view(dtype).view(2, exponents, len(mantissas))


def f32_bits(values):
    return torch.tensor([v - (1 << 32) if v >> 31 else v for v in values], dtype=torch.int32).view(torch.float32)


EDGES = [0x00000000, 0x80000000, 0x00000001, 0x807FFFFF, 0x00800000, 0x3F800000, 0x3F800001, 0xBF7FFFFF, 0x7F7FFFFF,
         0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0x3EAAAAAB, 0xC2F6E979, 0x33800000]


def tensors():
    rng = torch.Generator().manual_seed(3)
    f8 = torch.arange(256, dtype=torch.int32).to(torch.uint8).view(torch.float8_e4m3fn).view(16, 16)
    return {
        "a.f8": f8,
        "b.f16": codes(16, 10, (0, 1, 2, 0x155, 0x200, 0x2AA, 0x3FE, 0x3FF), torch.float16),
        "c.bf16": codes(16, 7, (0, 1, 0x2A, 0x40, 0x7F), torch.bfloat16),
        "d.f32": f32_bits(EDGES).view(4, 4),
        "e.f8.odd": torch.randn(3, 7, generator=rng).to(torch.float8_e4m3fn),
        "f.f16.odd": torch.randn(5, 3, generator=rng).to(torch.float16),
        "g.bf16.odd": torch.randn(1, 9, generator=rng).to(torch.bfloat16),
        "h.f32.scalar": torch.tensor(0.1),
        "i.bf16.empty": torch.zeros(0, 4, dtype=torch.bfloat16),
        "j.f32": torch.randn(2, 3, 4, generator=rng),
    }


def rounding():
    """Values on, just below and just above the ties of both types, edges of their ranges, and random ones."""
    rng = torch.Generator().manual_seed(4)
    out = list(EDGES)
    for base in (0x3F800000, 0x3F810000, 0x40490000, 0xC2F60000, 0x00010000, 0x7F7F0000, 0x477FE000, 0x387FC000, 0x33000000,
                 0x38800000, 0x33800000, 0x3F802000, 0xB8004000):
        for step in (0x0FFF, 0x1000, 0x1001, 0x2FFF, 0x3000, 0x3001, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
            out.append(min(base + step, 0xFFFFFFFF))
    values = torch.cat([f32_bits(out), torch.randn(200, generator=rng), torch.randn(200, generator=rng) * 1e-6,
                        torch.randn(100, generator=rng) * 4e4])
    values = values[~values.isnan()]
    return {"float32": values, "bfloat16": values.to(torch.bfloat16), "float16": values.to(torch.float16)}


def main():
    folder = os.path.join(DATA, "dtypes")
    shutil.rmtree(folder, ignore_errors=True)
    all_tensors = tensors()
    write_weights(os.path.join(folder, "one"), "model", all_tensors, 1)
    write_weights(os.path.join(folder, "three"), "model", all_tensors, 3)
    write_safetensors(os.path.join(folder, "expected.safetensors"), {k: v.float() for k, v in all_tensors.items()})
    write_safetensors(os.path.join(folder, "rounding.safetensors"), rounding())


if __name__ == "__main__":
    main()
