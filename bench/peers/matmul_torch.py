"""A matrix product of our own beside cuBLAS on one Hopper GPU, bf16, random data: plain, and with norm and rotation of heads in the same kernel.

    nvcc -std=c++17 -O3 -gencode=arch=compute_90a,code=sm_90a -Isrc -Iinclude -Xcompiler -fPIC -shared -o build/matmul.so bench/cuda/matmul_sm90.cu
    python3 bench/peers/matmul_torch.py build/matmul.so

Checks each kernel against float32 first. Sides take turns in random order, each for a quarter of a second of itself before it is timed: at the power limit a side is as
fast as what ran before lets it be. SPDX-License-Identifier: Apache-2.0
"""
import ctypes
import random
import statistics
import sys
import time

import torch

library = ctypes.CDLL(sys.argv[1])
ALL = 1 << 12  # rows of tiles in one group
bf16, cuda = torch.bfloat16, "cuda"


def pointer(tensor):
    return ctypes.c_void_p(tensor.data_ptr())


def stream():
    return ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)


def plain(square, y, x, w, bias, group=ALL):
    assert library.matmul_plain(square, pointer(y), pointer(x), pointer(w), pointer(bias), x.shape[0], w.shape[0], x.shape[1], group, stream()) == 0


def heads(y, x, w, bias, norms, tables, group=ALL):
    assert library.matmul_heads(pointer(y), pointer(x), pointer(w), pointer(bias), *map(pointer, norms), *map(pointer, tables), x.shape[0],
                                w.shape[0] // 384, x.shape[1], group, stream()) == 0


def draw(m, n, k):
    return torch.randn(m, k, device=cuda, dtype=bf16), torch.randn(n, k, device=cuda, dtype=bf16) * k**-0.5, torch.randn(n, device=cuda, dtype=bf16)


def draw_heads(m):
    return [torch.rand(128, device=cuda) + 1 for _ in range(2)], [torch.randn(m, 64, device=cuda).repeat_interleave(2, 1) for _ in range(2)]


def heads_in_float32(x, w, bias, norms, tables):
    y = (x.float() @ w.float().T + bias.float()).view(x.shape[0], 3, -1, 128)
    for i, norm in enumerate(norms):
        t = y[:, i] * torch.rsqrt(y[:, i].square().mean(-1, keepdim=True) + 1e-6) * norm
        turned = torch.stack([-t[..., 1::2], t[..., ::2]], -1).flatten(-2)
        y[:, i] = t * tables[0][:, None] + turned * tables[1][:, None]
    return y.reshape(x.shape[0], -1)


def check(name, got, want):
    torch.cuda.synchronize()
    error = ((got.float() - want).norm() / want.norm()).item()
    print(f"{name}: error {error:.4g}", flush=True)
    assert error < 2e-3  # measured: 1.7e-3, the rounding of the result


def check_all():
    torch.backends.cuda.matmul.allow_tf32 = False
    for m, n, k in (4608, 9216, 3072), (513, 3072, 3072), (130, 384, 128), (4097, 3080, 1000), (1, 256, 64):
        x, w, bias = draw(m, n, k)
        for square in False, True:
            y = torch.full((m, n), float("nan"), device=cuda, dtype=bf16)
            plain(square, y, x, w, bias.float())
            check(f"{m}x{n}x{k}{' square' if square else ''}", y, x.float() @ w.float().T + bias.float())
    for m, count, k in (4608, 24, 3072), (517, 5, 640):
        (x, w, bias), (norms, tables) = draw(m, 384 * count, k), draw_heads(m)
        y = torch.full((m, 384 * count), float("nan"), device=cuda, dtype=bf16)
        heads(y, x, w, bias.float(), norms, tables)
        check(f"{m} tokens, {count} heads", y, heads_in_float32(x, w, bias, norms, tables))


def seconds(call, count):
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(count):
        call()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / count


def race(name, sides, flops, rounds=5):
    count = {side: max(3, int(0.25 / seconds(call, 10))) for side, call in sides.items()}
    times = {side: [] for side in sides}
    for _ in range(rounds):
        for side in random.sample(list(sides), len(sides)):
            seconds(sides[side], count[side])
            times[side].append(seconds(sides[side], count[side]))
    for side, values in times.items():
        median = statistics.median(values)
        print(f"{name:18} {side:24} {1e6 * median:8.1f} us {flops / median / 1e12:7.1f} TFLOP/s", flush=True)


check_all()
for m, n, k in (4608, 9216, 3072), (4608, 12288, 3072), (4608, 3072, 12288), (4608, 3072, 3072), (2304, 9216, 3072), (1152, 9216, 3072):
    (x, w, bias), (norms, tables) = draw(m, n, k), draw_heads(m)
    y, own_bias = torch.empty(m, n, device=cuda, dtype=bf16), bias.float()
    sides = {"cuBLAS": lambda: torch.addmm(bias, x, w.T, out=y), "own 128x256": lambda: plain(False, y, x, w, own_bias),
             "own 128x256, groups of 9": lambda: plain(False, y, x, w, own_bias, 9), "own 192x192": lambda: plain(True, y, x, w, own_bias)}
    if n == 9216:
        sides["own with heads"] = lambda: heads(y, x, w, own_bias, norms, tables, 9)
    race(f"{m}x{n}x{k}", sides, 2 * m * n * k)
