"""A denoising step on one device: para and diffusers on the same weights file and inputs, in turn. bench/compare_flux.py and compare_video.py are this.

SPDX-License-Identifier: Apache-2.0
"""
import os
import statistics
import tempfile
import time

import torch
from families import FAMILIES
from para_bench import append, names, para_dtype, para_step, show_times, take_turns
from safetensors.torch import load_file
from torch_side import TorchSide
from torch_step import Loop, ceilings, error, reference, show_faults


def add_step_arguments(parser):
    parser.add_argument("--frames", type=int, help="of a video (its usual number)")
    parser.add_argument("--text-tokens", type=int, help="of the text (the family's)")
    parser.add_argument("--padded-text", type=int, help="of the text with padding, which diffusers is given with a mask, if the model takes one (the family's)")
    parser.add_argument("--para-variant", help="name of para's rows (its type of numbers)")
    parser.add_argument("--paraattention", default="", help="variants of ParaAttention, too: ulysses,ulysses-compiled")
    parser.add_argument("--accuracy", action="store_true", help="compare predictions with diffusers in float32, too")
    parser.add_argument("--accuracy-frames", type=int, help="of a shorter video for --accuracy (--frames)")


def family_of(a, frames=None):
    return FAMILIES[a.family](a.model, a.width, a.height, frames or a.frames, a.text_tokens, a.padded_text)


def variants_of(a, model, family, path):
    """{name: Loop}, each of which has run."""
    loops = {}
    for name in names(a.variants):
        start = time.perf_counter()
        loops[name] = Loop.of(name, model, family, path, a.device, getattr(torch, a.dtype), a.steps)
        loops[name].run()
        print(f"{name}: first run {time.perf_counter() - start:.0f} s", flush=True)
    return loops


def show_accuracy(a, right, predicted, model, family, path, loops):
    bound = min(error(prediction, right) for prediction in loops.values()) * 1.1
    print(f"error against float32: para {error(predicted, right):.4g}, limit {bound:.4g}")
    for name, prediction in loops.items():
        print(f"  {name} {error(prediction, right):.4g}")
    show_faults(right, model, family, path, a.device, getattr(torch, a.dtype), bound)


def accuracy_of_shorter(a, model, work):
    """Of a video of fewer frames, by a para of its own and eager diffusers."""
    family = family_of(a, a.accuracy_frames)
    path, output = os.path.join(work, "shorter.safetensors"), os.path.join(work, "shorter-prediction.safetensors")
    family.draw(path)
    right = reference(family, path, a.device)
    para_step(a, family, path, output).close()
    eager = Loop.of("eager", model, family, path, a.device, getattr(torch, a.dtype), 1).prediction()
    print(f"{a.accuracy_frames} frames:")
    show_accuracy(a, right, load_file(output)["prediction"], model, family, path, {"eager": eager})


def show_limit(family, flops, attention_flops, ours):
    """What the machine's ceilings, measured now, allow; rows of the CSV."""
    tokens = family.video_tokens() + family.text_tokens
    most = ceilings(tokens, family.heads, family.head_dim)
    limit = 1e3 * ((flops - attention_flops) / most["gemm"][1] + attention_flops / most["attention"][1])
    for name, (_, rate) in most.items():
        print(f"ceiling {name}: {rate / 1e12:.0f} TFLOP/s")
    print(f"limit: {limit:.1f} ms a step at these ceilings; para reaches {100 * limit / ours:.1f} % of it")
    return [(f"ceiling-{name}", "torch", "8192" if name == "gemm" else f"B1-H{family.heads}-S{tokens}-D{family.head_dim}", ms)
            for name, (ms, _) in most.items()]


def compare(a):
    family = family_of(a)
    a.case = a.case or family.case(a.model_name)
    print(f"{a.case}: {family.video_tokens()} + {family.text_tokens} tokens, {a.steps} steps, {a.dtype}", flush=True)
    with tempfile.TemporaryDirectory() as work:
        path, output = os.path.join(work, "inputs.safetensors"), os.path.join(work, "prediction.safetensors")
        family.draw(path)
        right = reference(family, path, a.device) if a.accuracy and not a.accuracy_frames else None
        para = para_step(a, family, path, output)
        model = family.load(a.device, getattr(torch, a.dtype))
        loops = variants_of(a, model, family, path)
        other = [TorchSide(a, a.family, path, "paraattention", names(a.paraattention), 1).ready()] if a.paraattention else []
        sides = {("para", a.para_variant or para_dtype(a)): para, **{("diffusers", name): loop for name, loop in loops.items()}}
        for side in other:
            sides.update(side.sides())

        predicted = load_file(output)["prediction"]
        predictions = {side: sides[side].prediction() for side in list(sides)[1:]}
        for (system, name), prediction in predictions.items():
            print(f"prediction: para against {system} {name}: relative L2 {error(predicted, prediction):.3g}")
        if right is not None:
            show_accuracy(a, right, predicted, model, family, path, {" ".join(side): p for side, p in predictions.items()})
        times = {side: [ms for run in runs for ms in run] for side, runs in take_turns(sides, a.rounds).items()}
        flops, attention_flops = map(float, para.ready)
        for side in [para, *other]:
            side.close()
        medians = show_times(a.case, times, list(sides)[0], lambda side, ms: f" a step, {flops / ms / 1e9:.0f} TFLOP/s")
        rows = [(a.case, system, variant, ms) for (system, variant), ms in medians.items()]
        if a.device == "cuda":
            rows += show_limit(family, flops, attention_flops, statistics.median(times[list(sides)[0]]))
        append(a.csv, a.run, a.device, rows)
        if a.accuracy and a.accuracy_frames:
            accuracy_of_shorter(a, model, work)
