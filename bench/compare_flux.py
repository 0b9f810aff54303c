"""A FLUX denoising step by para and by diffusers, on the same weights file and inputs, sides in turn.

    python3 bench/peers/make_flux.py bench/configs/flux.1-dev /tmp/flux --components transformer
    python3 bench/compare_flux.py /tmp/flux --variants eager-cudnn,eager-flash2,compiled-blocks,max-autotune --accuracy --csv bench/results/flux.csv

A step is (preparation + N steps) / N. In each round every side runs all steps once, in random order. Prints medians, ratios and the share of what the machine's
ceilings allow, measured in the same run; appends rows to the CSV. --accuracy compares a prediction of each side with diffusers in float32.
SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent / "peers"))
import flux_torch  # noqa: E402
from para_bench import ParaBench, add_arguments, append  # noqa: E402


def para_step(a, inputs, output):
    return ParaBench(a.para, "bench", "transformer", str(a.model), "--inputs", inputs, "--save-output", output, "--width", str(a.width), "--height", str(a.height),
                     "--steps", str(a.steps), "--device", a.device, "--dtype", {"bfloat16": "bf16", "float32": "f32"}[a.dtype], "--guidance",
                     str(flux_torch.GUIDANCE), *a.para_options.split())


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "eager-cudnn,eager-flash2,compiled-blocks,max-autotune", "-flux")
    parser.add_argument("--para-variant", default="bf16")
    parser.add_argument("--text-tokens", type=int, default=512)
    parser.add_argument("--accuracy", action="store_true")
    parser.add_argument("--case")
    parser.epilog = "variants: " + ", ".join(flux_torch.VARIANTS)
    a = parser.parse_args()
    size = str(a.width) if a.width == a.height else f"{a.width}x{a.height}"
    a.case = a.case or "-".join(["flux.1-dev", size] + ([f"t{a.text_tokens}"] if a.text_tokens != 512 else []))
    return a


def error(got, want):
    got, want = got.float().cpu().reshape(-1), want.float().cpu().reshape(-1)
    return ((got - want).norm() / want.norm()).item()


def draw_inputs(a, config, path):
    random_numbers = torch.Generator("cpu").manual_seed(0)
    normal = lambda *shape: torch.randn(*shape, generator=random_numbers).to(torch.bfloat16)
    tokens = (a.height // 16) * (a.width // 16)
    save_file({"latents": normal(1, tokens, config["in_channels"]), "encoder_hidden_states": normal(a.text_tokens, config["joint_attention_dim"]),
               "pooled_projections": normal(1, config["pooled_projection_dim"])}, path)
    return tokens


@torch.no_grad()
def reference(a, inputs_of):
    """Predictions in float32: right, and without attention."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model = flux_torch.load(a.model, a.device, torch.float32)
    inputs = inputs_of(torch.float32)
    right = inputs.predict(model, inputs.latents, 1.0).cpu()
    with flux_torch.without_attention():
        moved = error(inputs.predict(model, inputs.latents, 1.0), right)
    print(f"float32: without attention the prediction moves by {moved:.2f}{'' if moved >= 0.3 else ', TOO LITTLE to show errors'}", flush=True)
    return right


def show_accuracy(right, para, model, inputs, loops):
    bound = min(error(loop.prediction(), right) for loop in loops.values()) * 1.1
    print(f"error against float32: para {error(para, right):.4g}, limit {bound:.4g}")
    for name, loop in loops.items():
        print(f"  {name} {error(loop.prediction(), right):.4g}")
    for fault in flux_torch.FAULTS:
        with flux_torch.faulty(fault), torch.no_grad():
            wrong = error(inputs.predict(model, inputs.latents, 1.0), right)
        print(f"  planted, {fault}: {wrong:.4g}" + (f", {wrong / bound:.1f} x the limit" if bound else ""))


def main():
    a = arguments()
    config = json.loads((a.model / "transformer" / "config.json").read_text())
    dtype = getattr(torch, a.dtype)
    work = tempfile.TemporaryDirectory()
    path, output = os.path.join(work.name, "inputs.safetensors"), os.path.join(work.name, "prediction.safetensors")
    tokens = draw_inputs(a, config, path) + a.text_tokens
    inputs_of = lambda t: flux_torch.Inputs(path, (a.height // 16, a.width // 16), a.device, t, config.get("guidance_embeds", False))
    right = reference(a, inputs_of) if a.accuracy else None
    if a.device == "cuda":
        torch.cuda.empty_cache()

    para = para_step(a, path, output)
    flops, attention_flops = map(float, para.ready)
    model, inputs = flux_torch.load(a.model, a.device, dtype), inputs_of(dtype)
    loops = {}
    for name in filter(None, a.variants.split(",")):
        start = time.perf_counter()
        loops[name] = flux_torch.Loop(name, model, inputs, a.steps)
        loops[name].run()
        print(f"{name}: first run {time.perf_counter() - start:.0f} s", flush=True)

    predicted = load_file(output)["prediction"]
    for name, loop in loops.items():
        print(f"prediction: para against diffusers {name}: relative L2 {error(predicted, loop.prediction()):.3g}")
    if a.accuracy:
        show_accuracy(right, predicted, model, inputs, loops)

    sides = {("para", a.para_variant): para, **{("diffusers", name): loop for name, loop in loops.items()}}
    times = {side: [] for side in sides}
    for _ in range(a.rounds):
        for side in random.sample(list(sides), len(sides)):
            times[side] += sides[side].run()
    para.close()

    rows = []
    ours = statistics.median(times["para", a.para_variant])
    for (system, variant), values in times.items():
        ms = statistics.median(values)
        rows.append((a.case, system, variant, ms))
        print(f"{a.case} {system} {variant}: {ms:.2f} ms a step ({min(values):.2f} to {max(values):.2f}), {flops / ms / 1e9:.0f} TFLOP/s; para takes {ours / ms:.3f} x")
    if a.device == "cuda":
        heads, head_dim = config["num_attention_heads"], config["attention_head_dim"]
        most = flux_torch.ceilings(tokens, heads, head_dim)
        limit = 1e3 * ((flops - attention_flops) / most["gemm"][1] + attention_flops / most["attention"][1])
        for name, (ms, rate) in most.items():
            print(f"ceiling {name}: {rate / 1e12:.0f} TFLOP/s")
            rows.append((f"ceiling-{name}", "torch", "8192" if name == "gemm" else f"B1-H{heads}-S{tokens}-D{head_dim}", ms))
        print(f"limit: {limit:.1f} ms a step at these ceilings; para reaches {100 * limit / ours:.1f} % of it")
    if a.csv:
        append(a.csv, a.run, torch.cuda.get_device_name() if a.device == "cuda" else "CPU", rows)


main()
