"""The attention kernel beside PyTorch's scaled_dot_product_attention (cuDNN, FlashAttention-2) on one Hopper GPU, bf16, random data.

    nvcc -std=c++17 -O3 -gencode=arch=compute_90a,code=sm_90a -Isrc -Xcompiler -fPIC -shared -o build/attention.so src/backend/cuda/attention_sm90.cu
    python3 bench/peers/attention_torch.py build/attention.so [RUN] > bench/results/attention.csv

Each side is a CUDA graph of 20 calls over rotating buffers (fewer where a call takes longer than 50 ms). A GPU at its power limit is as slow as what ran
before it was hot, so that every side is timed twice in every round, the sides in random order: "burst" after 30 ms of rest, and "sustained" after at
least 100 ms of itself. Medians over the rounds go to standard output as CSV, a table to standard error.

SPDX-License-Identifier: Apache-2.0
"""
import ctypes
import random
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

CASES = [(1, 24, 1152, 128), (1, 24, 4608, 128), (1, 24, 16384, 128), (1, 24, 32768, 128), (1, 24, 118784, 128),
         (1, 3, 4608, 128), (1, 6, 4608, 128), (1, 12, 4608, 128), (2, 24, 4096, 64), (1, 48, 17776, 64)]


class Strides(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("batch", "head", "token")]


class Attention(ctypes.Structure):  # para_cuda_attention
    _fields_ = ([(name, ctypes.c_int) for name in ("type", "batch", "heads", "kv_heads", "q_len", "kv_len", "head_dim")]
                + [(name, ctypes.c_void_p) for name in ("q", "k", "v")] + [(name, Strides) for name in ("q_stride", "k_stride", "v_stride")]
                + [("out", ctypes.c_void_p), ("out_stride", Strides), ("out_f32", ctypes.c_bool), ("lse", ctypes.c_void_p), ("lse_stride", Strides)]
                + [(name, ctypes.c_void_p) for name in ("kv_lengths", "carry_out", "carry_lse")]
                + [(name, Strides) for name in ("carry_out_stride", "carry_lse_stride")]
                + [("scale", ctypes.c_float), ("causal", ctypes.c_bool), ("causal_offset", ctypes.c_int), ("workspace", ctypes.c_void_p)])


library = ctypes.CDLL(sys.argv[1])
library.para_cuda_attention_workspace.restype = ctypes.c_size_t
gpu = torch.cuda.get_device_properties(0)
workspace = torch.zeros(library.para_cuda_attention_workspace(gpu.multi_processor_count), dtype=torch.uint8, device="cuda")


def para(q, k, v, out):
    stride = Strides(*q.stride()[:3])
    a = Attention(batch=q.shape[0], heads=q.shape[1], kv_heads=q.shape[1], q_len=q.shape[2], kv_len=q.shape[2], head_dim=q.shape[3], q=q.data_ptr(),
                  k=k.data_ptr(), v=v.data_ptr(), q_stride=stride, k_stride=stride, v_stride=stride, out=out.data_ptr(), out_stride=stride,
                  scale=q.shape[3] ** -0.5, workspace=workspace.data_ptr())
    error = library.para_cuda_attention_sm90(ctypes.byref(a), ctypes.c_void_p(torch.cuda.current_stream().cuda_stream))
    assert error == 0, error


def sdpa(backend):
    def call(q, k, v, out):
        with sdpa_kernel(backend):
            F.scaled_dot_product_attention(q, k, v)
    return call


SIDES = {"para": para, "cudnn": sdpa(SDPBackend.CUDNN_ATTENTION), "flash2": sdpa(SDPBackend.FLASH_ATTENTION)}


def capture(call, sets, calls):
    with torch.cuda.stream(torch.cuda.Stream()):
        for s in sets:
            call(*s)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(calls):
            call(*sets[i % len(sets)])
    return graph


def replay(graph, times):
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    for _ in range(times):
        graph.replay()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / times


def bench(batch, heads, tokens, d, run):
    flops = 4 * batch * heads * tokens**2 * d
    slow = flops > 2.5e13
    calls, rounds = (2, 3) if slow else (20, 5)
    sets = [[torch.randn(batch, heads, tokens, d, device="cuda", dtype=torch.bfloat16) for _ in range(3)] for _ in range(2 if slow else 4)]
    sets = [s + [torch.empty_like(s[0])] for s in sets]
    graphs = {name: capture(call, sets, calls) for name, call in SIDES.items()}
    times = {(name, mode): [] for name in SIDES for mode in ("burst", "sustained")}
    for _ in range(rounds):
        for name in random.sample(list(graphs), len(graphs)):
            time.sleep(0.03)
            ms = replay(graphs[name], 1)
            times[name, "burst"].append(ms / calls)
            if ms < 100:
                replay(graphs[name], int(100 / ms) + 1)
            times[name, "sustained"].append(replay(graphs[name], max(1, int(40 / ms))) / calls)
    case = f"attention-B{batch}-H{heads}-S{tokens}-D{d}"
    for (name, mode), values in times.items():
        ms = statistics.median(values)
        print(f"{run},{gpu.name},1,{case},{name},{mode},{ms:.5f}", flush=True)
        against = [statistics.median(times[other, mode]) / ms for other in SIDES]
        print(f"{case} {name} {mode}: {ms:.4f} ms, {flops / ms / 1e9:.1f} TFLOP/s ({min(values):.4f} to {max(values):.4f}); "
              f"{against[1]:.3f} x cudnn, {against[2]:.3f} x flash2", file=sys.stderr, flush=True)


print("run,gpu,gpus,case,system,variant,ms")
for case in CASES:
    bench(*case, sys.argv[2] if len(sys.argv) > 2 else time.strftime("%Y-%m-%d"))
