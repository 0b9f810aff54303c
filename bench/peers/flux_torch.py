"""The denoising loop of diffusers' FLUX transformer, eager and compiled: one side of bench/compare_flux.py.

SPDX-License-Identifier: Apache-2.0
"""
import contextlib
import copy
import time

import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel
from safetensors.torch import load_file
from torch.nn.attention import SDPBackend, sdpa_kernel

GUIDANCE = 4.0  # times 1000 it is exact in bfloat16, in which diffusers takes its sines; 3.5 becomes 3.504, another guidance than in float32


def sharing(model):
    """A copy of the model's modules with the same weights."""
    held = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in held})


def eager(model):
    return model


def blocks(model):
    model = sharing(model)
    model.compile_repeated_blocks(fullgraph=True)
    return model


def max_autotune(model):
    model = sharing(model)
    model.fuse_qkv_projections()
    model.compile_repeated_blocks(fullgraph=True, mode="max-autotune-no-cudagraphs")
    return model


def whole(model):
    return torch.compile(sharing(model))


# Name: how the model is prepared, and which attention it calls (None: as PyTorch chooses).
VARIANTS = {
    "eager": (eager, None),
    "eager-cudnn": (eager, SDPBackend.CUDNN_ATTENTION),
    "eager-flash2": (eager, SDPBackend.FLASH_ATTENTION),
    "compiled-blocks": (blocks, SDPBackend.CUDNN_ATTENTION),
    "compiled": (whole, SDPBackend.CUDNN_ATTENTION),
    "max-autotune": (max_autotune, SDPBackend.CUDNN_ATTENTION),
}


def attention_of(backend):
    return sdpa_kernel(backend) if backend is not None else contextlib.nullcontext()


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def load(folder, device, dtype):
    model = FluxTransformer2DModel.from_pretrained(folder, subfolder="transformer", torch_dtype=dtype)
    return model.to(device).eval().requires_grad_(False)


class Inputs:
    """Those of a safetensors file, as the pipeline gives them to the transformer."""

    def __init__(self, path, grid, device, dtype, guidance):
        tensors = {name: t.to(device, dtype) for name, t in load_file(path).items()}
        height, width = grid
        ids = torch.zeros(height, width, 3, device=device)
        ids[..., 1] = torch.arange(height, device=device)[:, None]
        ids[..., 2] = torch.arange(width, device=device)[None]
        self.latents = tensors["latents"]
        self.rest = dict(
            encoder_hidden_states=tensors["encoder_hidden_states"][None], pooled_projections=tensors["pooled_projections"],
            img_ids=ids.reshape(-1, 3).to(dtype), txt_ids=torch.zeros(tensors["encoder_hidden_states"].shape[0], 3, device=device, dtype=dtype),
            guidance=torch.full([1], GUIDANCE, device=device) if guidance else None, return_dict=False)
        self.dtype, self.device = dtype, device

    def predict(self, model, latents, sigma):
        return model(hidden_states=latents, timestep=torch.full([1], sigma, device=self.device, dtype=self.dtype), **self.rest)[0]


class Loop:
    """All steps of one variant."""

    def __init__(self, name, model, inputs, steps):
        prepare, self.backend = VARIANTS[name]
        self.model, self.inputs, self.steps = prepare(model), inputs, steps

    @torch.no_grad()
    def prediction(self):
        with attention_of(self.backend):
            return self.inputs.predict(self.model, self.inputs.latents, 1.0)

    @torch.no_grad()
    def run(self):
        """Milliseconds of a step, in a list."""
        wait(self.inputs.device)
        start = time.perf_counter()
        sigmas = [1 - i / self.steps for i in range(self.steps + 1)]
        latents = self.inputs.latents
        with attention_of(self.backend):
            for sigma, after in zip(sigmas, sigmas[1:]):
                predicted = self.inputs.predict(self.model, latents, sigma)
                latents = (latents.float() + (after - sigma) * predicted.float()).to(self.inputs.dtype)
        wait(self.inputs.device)
        return [1e3 * (time.perf_counter() - start) / self.steps]


FAULTS = ("first 128 keys dropped", "last 128 keys dropped", "heads swapped")


@contextlib.contextmanager
def faulty(fault):
    """scaled_dot_product_attention with an error that a kernel could have."""
    right = F.scaled_dot_product_attention

    def wrong(query, key, value, *args, **kwargs):
        if "dropped" in fault:
            kept = slice(128, None) if "first" in fault else slice(None, -128)
            return right(query, key[..., kept, :], value[..., kept, :], *args, **kwargs)
        out = right(query, key, value, *args, **kwargs).clone()
        out[:, [0, 1]] = out[:, [1, 0]]
        return out

    torch.nn.functional.scaled_dot_product_attention = wrong
    try:
        yield
    finally:
        torch.nn.functional.scaled_dot_product_attention = right


@contextlib.contextmanager
def without_attention():
    right = F.scaled_dot_product_attention
    torch.nn.functional.scaled_dot_product_attention = lambda query, *args, **kwargs: torch.zeros_like(query)
    try:
        yield
    finally:
        torch.nn.functional.scaled_dot_product_attention = right


def measured(call, calls, rounds=5):
    """Milliseconds of a call, the median."""
    call()
    times = []
    for _ in range(rounds):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(calls):
            call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / calls)
    return sorted(times)[rounds // 2]


def ceilings(tokens, heads, head_dim):
    """FLOPs a second of a large matrix product, and of cuDNN's attention at the model's shape; with the milliseconds they took."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    q, k, v = (torch.randn(1, heads, tokens, head_dim, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    gemm = measured(lambda: F.linear(a, b), 20)
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        attention = measured(lambda: F.scaled_dot_product_attention(q, k, v), 20)
    return {"gemm": (gemm, 2 * 8192**3 / gemm * 1e3), "attention": (attention, 4 * heads * tokens**2 * head_dim / attention * 1e3)}
