"""The lines of bench/bench_ops.c measured with PyTorch on the CPU: bench_torch_ops.py [threads] [word]."""
import sys
import time

import torch
import torch.nn.functional as F

threads = int(sys.argv[1]) if len(sys.argv) > 1 else 2
word = sys.argv[2] if len(sys.argv) > 2 else ""
torch.set_num_threads(threads)
names = {torch.float32: "f32", torch.bfloat16: "bf16"}


def measure(name, run, gigas, unit, repeats=5):
    if word not in name:
        return
    run()
    wall = cpu = 1e9
    for _ in range(repeats):
        w, c = time.perf_counter(), time.process_time()
        run()
        wall, cpu = min(wall, time.perf_counter() - w), min(cpu, (time.process_time() - c) / threads)
    print(f"{name:44} {1e3 * wall:9.3f} ms wall {1e3 * cpu:9.3f} ms cpu {gigas / cpu:8.1f} {unit}", flush=True)


def rand(dtype, *shape):
    return torch.rand(*shape, dtype=torch.float32).mul_(2).sub_(1).to(dtype)


def linear(dtype, m, n, k, gelu=False):
    x, w, b = rand(dtype, m, k), rand(dtype, n, k), rand(dtype, n)
    run = (lambda: F.gelu(F.linear(x, w, b), approximate="tanh")) if gelu else (lambda: F.linear(x, w, b))
    gigas = 2e-9 * m * n * k if m > 16 else 1e-9 * w.numel() * w.element_size()
    measure(f"linear {m}x{n}x{k} {names[dtype]}{' gelu' if gelu else ''}", run, gigas, "GFLOP/s" if m > 16 else "GB/s")


def attention(dtype, h, s, d):
    q, k, v = (rand(dtype, 1, h, s, d) for _ in range(3))
    measure(f"attention {h}x{s}x{d} {names[dtype]}", lambda: F.scaled_dot_product_attention(q, k, v), 4e-9 * h * s * s * d, "GFLOP/s")


def conv(dtype, size, inputs, outputs, kernel):
    x = rand(dtype, 1, inputs, size, size).to(memory_format=torch.channels_last)
    w, b = rand(dtype, outputs, inputs, kernel, kernel).to(memory_format=torch.channels_last), rand(dtype, outputs)
    measure(f"conv2d {size}px {inputs}->{outputs} k{kernel} {names[dtype]}", lambda: F.conv2d(x, w, b, padding=kernel // 2),
            2e-9 * size * size * inputs * outputs * kernel * kernel, "GFLOP/s")


def rows(dtype, m, d):
    x, y, v = rand(dtype, m, d), rand(dtype, m, d), rand(dtype, d)
    gigabytes = 1e-9 * x.numel() * x.element_size()
    measure(f"norm {m}x{d} {names[dtype]}", lambda: F.layer_norm(x, (d,)) * (1 + v) + v, 2 * gigabytes, "GB/s")
    measure(f"residual+norm {m}x{d} {names[dtype]}", lambda: F.layer_norm(x + v * y, (d,)) * (1 + v) + v, 4 * gigabytes, "GB/s")
    measure(f"gelu {m}x{d} {names[dtype]}", lambda: F.gelu(x, approximate="tanh"), 2 * gigabytes, "GB/s")
    heads, w, c = x.view(1, m, d // 64, 64), rand(dtype, 64), rand(torch.float32, m, 64)

    def head():  # as diffusers: RMSNorm, then apply_rotary_emb
        t = heads.float()
        t = (t * torch.rsqrt(t.pow(2).mean(-1, keepdim=True) + 1e-6)).to(dtype) * w
        t = t.transpose(1, 2)
        real, imag = t.reshape(*t.shape[:-1], -1, 2).unbind(-1)
        return (t.float() * c + torch.stack([-imag, real], -1).flatten(3).float() * c).to(dtype)

    measure(f"head {m}x{d // 64}x64 {names[dtype]}", head, 2 * gigabytes, "GB/s")


def group_norm(dtype, size, c):
    x = rand(dtype, 1, c, size, size).to(memory_format=torch.channels_last)
    w, b = rand(dtype, c), rand(dtype, c)
    measure(f"group_norm+silu {size}px {c} {names[dtype]}", lambda: F.silu(F.group_norm(x, 32, w, b, 1e-6)),
            3e-9 * x.numel() * x.element_size(), "GB/s")


with torch.inference_mode():
    for t in (torch.float32, torch.bfloat16):
        for m, n, k, gelu in ((1152, 1536, 1536, 0), (1152, 6144, 1536, 1), (1152, 1536, 6144, 0), (577, 384, 384, 0), (1, 9216, 1536, 0),
                              (8, 9216, 1536, 0), (16, 6144, 1536, 0), (64, 6144, 1536, 0)):
            linear(t, m, n, k, gelu)
        for h, s, d in ((24, 1152, 64), (12, 1152, 128), (4, 4608, 128), (1, 1024, 512), (8, 577, 48)):
            attention(t, h, s, d)
        rows(t, 1152, 1536)
        for size, i, o, kernel in ((32, 512, 512, 3), (64, 512, 512, 3), (128, 256, 256, 3), (256, 128, 128, 3), (256, 128, 3, 3),
                                   (128, 512, 256, 1)):
            conv(t, size, i, o, kernel)
        group_norm(t, 256, 128)
        group_norm(t, 64, 512)
