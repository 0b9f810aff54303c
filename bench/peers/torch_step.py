"""Denoising steps of a diffusers transformer, eager and compiled, right and with planted faults. SPDX-License-Identifier: Apache-2.0"""
import contextlib
import copy
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel


def sharing(model):
    """A copy of the model's modules with the same weights."""
    held = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in held})


def repeated_blocks(model):
    names = getattr(model, "_repeated_blocks", None) or [type(model.transformer_blocks[0]).__name__]
    return [module for module in model.modules() if type(module).__name__ in names]


def compile_blocks(model, fullgraph, **options):
    for block in repeated_blocks(model):
        block.compile(fullgraph=fullgraph, **options)
    return model


def eager(model, fullgraph):
    return model


def blocks(model, fullgraph):
    return compile_blocks(sharing(model), fullgraph)


def max_autotune(model, fullgraph):
    model = sharing(model)
    model.fuse_qkv_projections()
    return compile_blocks(model, fullgraph, mode="max-autotune-no-cudagraphs")


def whole(model, fullgraph):
    return torch.compile(sharing(model))


class Unmasked:
    """An attention processor that is given no mask: what one would write where the padding of the text is gone."""

    def __init__(self, processor):
        self.processor = processor

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, image_rotary_emb=None):
        return self.processor(attn, hidden_states, encoder_hidden_states, None, image_rotary_emb)


def unmasked(model):
    model = sharing(model)
    for block in repeated_blocks(model):
        if hasattr(block, "attn"):
            block.attn.set_processor(Unmasked(block.attn.processor))
    return model


# Name: how the model is prepared, and which attention it calls (None: as PyTorch chooses, as it also does for models with masks). "-cut" after a name:
# the padding of the text is taken away, and its mask.
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
    if device.startswith("cuda"):
        torch.cuda.synchronize()


class Loop:
    """All steps of one model, as it was prepared."""

    def __init__(self, model, inputs, steps, backend=None):
        self.model, self.inputs, self.steps, self.backend = model, inputs, steps, backend

    @classmethod
    def of(cls, name, model, family, path, device, dtype, steps):
        cut = name.endswith("-cut")
        prepare, backend = VARIANTS[name.removesuffix("-cut")]
        assert not cut or family.padded_text, f"{name}: this family has no padded text"
        model = prepare(unmasked(model) if cut else model, family.fullgraph)
        return cls(model, family.inputs(path, device, dtype, cut), steps, backend if family.plain_attention and device.startswith("cuda") else None)

    @torch.no_grad()
    def prediction(self):
        """[tokens, channels] at the first timestep."""
        with attention_of(self.backend):
            return self.inputs.family.tokens(self.inputs.predict(self.model, self.inputs.latents, 1.0))

    @torch.no_grad()
    def run(self):
        """Milliseconds of a step, in a list."""
        wait(self.inputs.device)
        start = time.perf_counter()
        sigmas = [1 - i / self.steps for i in range(self.steps + 1)]
        latents = self.inputs.latents
        with attention_of(self.backend):
            for sigma, after in zip(sigmas, sigmas[1:]):
                latents = self.inputs.step(self.model, latents, sigma, after)
        wait(self.inputs.device)
        return [1e3 * (time.perf_counter() - start) / self.steps]


def error(got, want):
    got, want = got.float().cpu().reshape(-1), want.float().cpu().reshape(-1)
    return ((got - want).norm() / want.norm()).item()


@contextlib.contextmanager
def attention(other):
    """scaled_dot_product_attention replaced by other(right, query, key, value, ...)."""
    right = F.scaled_dot_product_attention
    torch.nn.functional.scaled_dot_product_attention = lambda *args, **kwargs: other(right, *args, **kwargs)
    try:
        yield
    finally:
        torch.nn.functional.scaled_dot_product_attention = right


def none(right, query, key, value, *args, **kwargs):
    return torch.zeros_like(query)


def keys_dropped(first, tile=128):
    """The first or last `tile` keys are not seen; of so few that it would be all, an eighth."""
    def call(right, query, key, value, *args, attn_mask=None, is_causal=False, **kwargs):
        queries, tokens = query.shape[-2], key.shape[-2]
        count = tile if tile < tokens else max(1, tokens // 8)
        kept = slice(count, None) if first else slice(0, tokens - count)
        if is_causal:
            attn_mask = torch.ones(queries, tokens, dtype=torch.bool, device=query.device).tril()
        masked = attn_mask if attn_mask is None else attn_mask[..., kept]
        out = right(query, key[..., kept, :], value[..., kept, :], *args, attn_mask=masked, **kwargs)
        if is_causal and first:  # these see no key at all
            out = torch.cat([torch.zeros_like(out[..., :count, :]), out[..., count:, :]], -2)
        return out
    return call


def heads_swapped(right, query, *args, **kwargs):
    out = right(query, *args, **kwargs).clone()
    out[:, [0, 1]] = out[:, [1, 0]]
    return out


FAULTS = {"first 128 keys dropped": keys_dropped(True), "last 128 keys dropped": keys_dropped(False), "heads swapped": heads_swapped}


@torch.no_grad()
def reference(family, path, device):
    """The prediction in float32, and how far one without attention is from it."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    loop = Loop(family.load(device, torch.float32), family.inputs(path, device, torch.float32, cut=True), 1)
    right = loop.prediction().cpu()
    with attention(none):
        moved = error(loop.prediction(), right)
    del loop
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    print(f"float32: without attention the prediction moves by {moved:.2f}{'' if moved >= 0.3 else ', TOO LITTLE to show errors'}", flush=True)
    return right


def show_faults(right, model, family, path, device, dtype, bound):
    """What diffusers' errors would be with faults that a kernel could have."""
    loop = Loop(model, family.inputs(path, device, dtype, cut=True), 1)
    for name, fault in FAULTS.items():
        with attention(fault):
            wrong = error(loop.prediction(), right)
        print(f"  planted, {name}: {wrong:.4g}" + (f", {wrong / bound:.1f} x the limit" if bound else ""), flush=True)


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
    calls = max(1, int(20 * (4608 / tokens) ** 2))
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        attention_ms = measured(lambda: F.scaled_dot_product_attention(q, k, v), calls)
    return {"gemm": (gemm, 2 * 8192**3 / gemm * 1e3), "attention": (attention_ms, 4 * heads * tokens**2 * head_dim / attention_ms * 1e3)}
