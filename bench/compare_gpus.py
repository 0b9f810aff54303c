"""A denoising step on several GPUs: para against ParaAttention and diffusers' own context parallelism, on the same weights file and inputs, sides in turn.

    python3 bench/peers/make_weights.py bench/configs/flux.1-dev /tmp/flux --components transformer
    PYTHONPATH=wheels python3 bench/compare_gpus.py /tmp/flux --gpus 2 --exact --csv bench/results/gpus.csv
    PYTHONPATH=wheels python3 bench/compare_gpus.py /tmp/flux --gpus 2 --width 2048 --height 2048 --steps 8 --csv bench/results/gpus.csv

para's variants: 1 (one GPU), threads, ring (threads), processes (as a launcher starts them), mpirun. diffusers': ulysses, ring, each "-compiled" or not; with
--diffusers-alone on one GPU, too. ParaAttention's, para-attn 0.3.38 on PYTHONPATH: ulysses, ring, each "-compiled" or not; for families with classifier-free guidance
its halves go to different GPUs first. A step is (preparation + N steps) / N. Prints medians, ratios and speed-ups over one GPU of para; appends rows to the CSV. --exact compares
predictions of N and of one with each other and with diffusers in float32. With --device cpu ranks share the processor. SPDX-License-Identifier: Apache-2.0
"""
import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from families import FAMILIES  # noqa: E402
from para_bench import add_arguments, append, names, para_step, show_times, take_turns  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from step_comparison import add_step_arguments, family_of  # noqa: E402
from torch_side import TorchSide  # noqa: E402
from torch_step import error, reference, show_faults  # noqa: E402


def para_start(a, variant):
    """What para is given on N GPUs: device, words, and how it is started."""
    n, cuda = a.gpus, a.device == "cuda"
    if variant == "1":
        return a.device, [], {}
    if variant in ("threads", "ring"):
        device = "cuda:" + ",".join(map(str, range(n))) if cuda else "cpu"
        return device, ["--ranks", str(n), *(["--ring", str(n)] if variant == "ring" else [])], {}
    if variant == "processes":
        return a.device, [], dict(processes=n)
    assert variant == "mpirun", f"para has no variant {variant}"
    return a.device, [], dict(prefix=["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", str(n)], ranks=n)


def start_para(a, family, path, work):
    """{variant: ParaBench}, and the files of their predictions; one after the other, as they measure while they start."""
    sides, outputs = {}, {}
    for variant in names(a.para_variants):
        device, words, start = para_start(a, variant)
        outputs[variant] = os.path.join(work, f"para-{variant}.safetensors")
        sides[variant] = para_step(a, family, path, outputs[variant], *words, device=device, **start)
        print(f"para {variant}: ready", flush=True)
    return sides, outputs


def start_torch(a, path):
    wanted = [("paraattention", a.paraattention, a.gpus), ("diffusers", a.variants, a.gpus), ("diffusers", a.diffusers_alone, 1)]
    started = [TorchSide(a, a.family, path, system, names(variants), ranks) for system, variants, ranks in wanted if variants]
    return [side.ready() for side in started]


def show_exact(a, family, path, right, ours, theirs):
    """N against one, and every error against float32 beside its limit: that of one GPU, and a tenth."""
    import torch

    one = ours["1"]
    limit = 1.1 * error(one, right)
    print(f"error of one GPU against float32: {limit / 1.1:.4g}; limit of N against one: {limit:.4g}")
    for name, prediction in ours.items():
        if name != "1":
            moved = error(prediction, one)
            print(f"  para {name} against one: {moved:.4g}{'' if moved <= limit else ', TOO MUCH'}; against float32 {error(prediction, right):.4g}")
    for (system, name), prediction in theirs.items():
        print(f"  {system} {name} against float32: {error(prediction, right):.4g}")
    show_faults(right, family.load(a.device, getattr(torch, a.dtype)), family, path, a.device, getattr(torch, a.dtype), limit)


def compare(a):
    family = family_of(a)
    a.case = a.case or family.case(a.model_name or a.model.resolve().name)
    print(f"{a.case}: {family.video_tokens()} + {family.text_tokens} tokens, {a.steps} steps, {a.dtype}, {a.gpus} ranks", flush=True)
    with tempfile.TemporaryDirectory() as work:
        path = os.path.join(work, "inputs.safetensors")
        family.draw(path)
        right = reference(family, path, a.device) if a.exact else None
        para, outputs = start_para(a, family, path, work)
        torch_sides = start_torch(a, path)
        gpus = {("para", name): 1 if name == "1" else a.gpus for name in para}
        sides = {("para", name): side for name, side in para.items()}
        for side in torch_sides:
            for (system, name), variant in side.sides().items():
                key = (system, name if side.ranks > 1 or a.gpus == 1 else f"{name}-1gpu")
                sides[key], gpus[key] = variant, side.ranks
        ours = {name: load_file(output)["prediction"] for name, output in outputs.items()}
        theirs = {key: side.prediction() for key, side in sides.items() if key[0] != "para"}
        for (system, name), prediction in theirs.items():
            print(f"prediction: para {next(iter(ours))} against {system} {name}: relative L2 {error(ours[next(iter(ours))], prediction):.3g}")
        times = {side: [ms for run in runs for ms in run] for side, runs in take_turns(sides, a.rounds).items()}
        for side in [*para.values(), *torch_sides]:
            side.close()
        best = next(key for key in sides if key[0] == "para" and key[1] != "1")
        medians = show_times(a.case, times, best, lambda side, ms: f" a step on {gpus[side]}")
        if ("para", "1") in medians:
            for name in list(para)[1:] if list(para)[0] == "1" else para:
                print(f"speed-up of para {name} over one: {medians['para', '1'] / medians['para', name]:.3f} x")
        others = [(ms, side) for side, ms in medians.items() if side[0] != "para" and gpus[side] == a.gpus]
        if others:
            print(f"para {best[1]} takes {medians[best] / min(others)[0]:.3f} x the fastest of the others, {' '.join(min(others)[1])}")
        append(a.csv, a.run, a.device, [(gpus[system, name], a.case, system, name, ms) for (system, name), ms in medians.items()])
        if a.exact:
            show_exact(a, family, path, right, ours, theirs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "ulysses,ulysses-compiled", "-gpus")
    add_step_arguments(parser)
    parser.add_argument("--family", choices=FAMILIES, default="flux")
    parser.add_argument("--name", dest="model_name", help="of the model in rows (the folder's)")
    parser.add_argument("--gpus", type=int, default=2)
    parser.add_argument("--para-variants", default="1,threads", help="of para, the first after 1 is the one compared (%(default)s)")
    parser.add_argument("--diffusers-alone", default="", help="variants of diffusers on one GPU: eager,compiled-blocks")
    parser.add_argument("--exact", action="store_true", help="compare N with one, and all with float32")
    parser.set_defaults(paraattention="ulysses,ulysses-compiled")
    compare(parser.parse_args())


main()
