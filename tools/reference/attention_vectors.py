"""Writes tests/parallel/attention.safetensors: PyTorch's scaled_dot_product_attention, in float64, of the problems of
tests/parallel/test_attention_modes.c. Inputs come from the formulas of tests/parallel/attention_problem.h. Of each problem a
few rows are kept: LSE, then out.
"""

import os

import numpy as np
import torch
import torch.nn.functional as F

from common import ROOT, write_safetensors

TOKENS = [(4096, 4096), (4096, 1024), (1241, 1241), (7, 5)]
HEADS = [24, 30, 5]
MASKS = ["none", "keys", "bool", "added", "heads", "segments"]
ROWS = 12
U64 = np.uint64


def scramble(z):
    with np.errstate(over="ignore"):
        z = np.asarray(z, dtype=U64) + U64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> U64(30))) * U64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> U64(27))) * U64(0x94D049BB133111EB)
        return z ^ (z >> U64(31))


def values(what, b, h, s, d):
    """what: 0 to 2 the operands, 3 an added mask; s and d are arrays."""
    index = (((np.asarray(what * 16 + b, U64) * U64(64) + U64(h)) * U64(8192) + s.astype(U64)) * U64(8192) + d.astype(U64))
    return ((scramble(index) >> U64(40)).astype(np.int64) - (1 << 23)).astype(np.float64) / (1 << 22)


def randoms(what, i, j):
    index = (np.asarray(what, U64) * U64(8192) + np.asarray(i, U64)) * U64(8192) + np.asarray(j, U64)
    return (scramble(index) >> U64(48)).astype(np.int64)


def operand(what, b, h, tokens, d):
    return torch.from_numpy(values(what, b, h, np.arange(tokens)[:, None], np.arange(d)[None, :]))


def row_mask(kind, b, h, i, sq, skv, heads):
    """One query's mask, added: 0 or -inf for the BOOL kinds."""
    j = np.arange(skv)
    added = np.zeros(skv)
    rowless = kind == "heads" and heads * sq * skv > 1 << 22
    i = 0 if rowless else i
    hidden = np.zeros(skv, dtype=bool)
    if kind == "keys":
        hidden = randoms(16, b, j) % 4 == 0
    elif kind == "segments":
        text = skv // 4 + 1
        hidden = j >= skv - text + (b + 1) * text // 3
    elif kind == "bool":
        hidden = (randoms(17, 0, j) % 8 == 0) | (i % 7 == 3) | (randoms(18, i, j) % 3 == 0)
    elif kind in ("added", "heads"):
        hidden = (randoms(17, 0, j) % 8 == 0) | (randoms(18, i, j) % 5 == 0)
        added = values(3, 0, h if kind == "heads" else 0, np.full(skv, i), j)
    return torch.from_numpy(np.where(hidden, -np.inf, added))


def attend(q, k, v, mask):
    """One query [D]: LSE and out; what sees nothing gives 0 and -inf."""
    scores = k @ q / np.sqrt(q.shape[0]) + mask
    lse = torch.logsumexp(scores, 0)
    if torch.isinf(lse):
        return lse, torch.zeros(v.shape[1], dtype=torch.float64)
    out = F.scaled_dot_product_attention(q[None, None, None], k[None, None], v[None, None], attn_mask=mask[None, None, None])
    return lse, out[0, 0, 0]


def problem(tokens, heads, kind, causal, in_batch):
    sq, skv = tokens
    b = 2 if in_batch or sq < 4096 else 1
    d = 16 if sq > 1000 else 64
    rows = []
    for n in range(ROWS):
        row = int(scramble(1000 + n)) % (b * heads * sq)
        entry, h, i = row // sq // heads, row // sq % heads, row % sq
        entries = range(b) if in_batch else [entry]
        k = torch.cat([operand(1, e, h, skv, d) for e in entries])
        v = torch.cat([operand(2, e, h, skv, d) for e in entries])
        mask = torch.cat([row_mask(kind, e, h, i, sq, skv, heads) for e in entries])
        if causal:
            mask = mask.masked_fill(torch.arange(skv) > i, -torch.inf)
        lse, out = attend(operand(0, entry, h, sq, d)[i], k, v, mask)
        rows.append(torch.cat([lse[None], out]))
    return torch.stack(rows).float()


def whole(heads, key_heads, sq, skv, d, **options):
    """All of a small problem by one call of PyTorch, as [B, H, Sq, D]."""
    q, k, v = (torch.stack([torch.stack([operand(what, b, h, n, d) for h in range(count)]) for b in range(2)])
               for what, count, n in ((0, heads, sq), (1, key_heads, skv), (2, key_heads, skv)))
    group = heads // key_heads
    lse = torch.logsumexp(q @ k.repeat_interleave(group, 1).transpose(2, 3) / np.sqrt(d), 3, keepdim=True)
    return torch.cat([lse, F.scaled_dot_product_attention(q, k, v, **options)], 3).reshape(-1, 1 + d).float()


def main():
    tensors = {}
    chosen = lambda n: [int(scramble(1000 + k)) % n for k in range(ROWS)]
    for tokens in TOKENS:
        for heads in HEADS:
            for kind in MASKS:
                base = f"{tokens[0]}x{tokens[1]}.h{heads}.{kind}"
                tensors[base] = problem(tokens, heads, kind, False, False)
                tensors[base + ".causal"] = problem(tokens, heads, kind, True, False)
                if kind in ("none", "keys", "segments") or (kind == "heads" and tokens[0] > 1000):
                    tensors[base + ".in-batch"] = problem(tokens, heads, kind, False, True)
    tensors["7x5.h24.none.gqa"] = whole(24, 8, 7, 5, 64, enable_gqa=True)[chosen(2 * 24 * 7)]
    # Rows one by one are what PyTorch makes of all at once, with its own causality.
    causal = whole(24, 24, 7, 5, 64, is_causal=True)[chosen(2 * 24 * 7)]
    assert (causal[:, 1:] - tensors["7x5.h24.none.causal"][:, 1:]).norm() < 1e-6 * causal[:, 1:].norm()
    write_safetensors(os.path.join(ROOT, "tests", "parallel", "attention.safetensors"), tensors)
    print(len(tensors), "problems")


if __name__ == "__main__":
    main()
