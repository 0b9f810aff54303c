"""How well para plan predicts a step: predicted and measured times of sizes that nothing was calibrated on.

    python3 bench/compare_plan.py [--device cpu|cuda] [--ranks 1,2] [--rounds 5] [--machine FILE] [--csv FILE] [--para build/release/para]

Measures the machine first (para bench machine, on each number of ranks), unless --machine names a file that has its rates. Then every case on every mesh of
each number of ranks: para bench transformer, whose step has its share of what comes before the first, and the same from para plan. Each mesh is measured
--rounds times, all of them in turn, and the median counts. Writes run,gpu,gpus,case,system,variant,ms as it goes, with the systems para (measured) and plan (predicted),
prints Markdown, and returns 1 where a prediction is more than --bound off, or ranks two meshes otherwise than they are, whose times differ by more than --tie.
Nothing else must run. SPDX-License-Identifier: Apache-2.0
"""
import argparse
import csv
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from para_bench import add_dtype, append_rows, para_dtype  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = "tests/golden"
# Model, options of the size, text tokens.
CASES = {
    "cpu": [
        ("models/tiny-flux", ["--width", 192, "--height", 192], 256),
        ("models/tiny-flux", ["--width", 320, "--height", 256], 256),
        ("models/tiny-flux", ["--width", 512, "--height", 448], 256),
        (f"{GOLDEN}/hunyuan-video", ["--width", 320, "--height", 256, "--frames", 33], 20),
    ],
    "cuda": [
        ("flux.1-dev", ["--width", 1024, "--height", 1024], 512),
        ("flux.1-dev", ["--width", 1360, "--height", 768], 512),
        ("flux.1-dev", ["--width", 2048, "--height", 2048], 512),
        ("hunyuan-video", ["--width", 960, "--height", 544, "--frames", 61], 64),
    ],
}


def run(options, *words):
    command = [str(word) for word in (options.para, *words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stderr}")


def ranks_of(options, ranks):
    """What makes para compute on so many ranks: a thread, or a GPU, each."""
    if options.device == "cuda":
        return ["--device", "cuda:" + ",".join(map(str, range(ranks))), "--dtype", para_dtype(options)]
    return ["--ranks", ranks, "--threads", ranks, "--dtype", para_dtype(options)]


def meshes_of(options, case, ranks):
    """What para plan says of each mesh: (variant, options of the mesh, predicted milliseconds as bench transformer measures them)."""
    model, size, text = case
    report = options.work / "plan.json"
    folder = model if (ROOT / model).is_dir() else f"bench/configs/{model}"
    run(options, "plan", folder, *size, "--steps", options.steps, "--max-sequence-length", text, "--machine", options.machine, "--report", report,
        *ranks_of(options, ranks))
    for mesh in json.loads(report.read_text())["meshes"]:
        axes = {name: mesh[name] for name in ("batch", "ring", "ulysses")}
        words = [word for name, n in axes.items() for word in (f"--{name}", n)] if ranks > 1 else []
        name = "-".join(f"{name}-{n}" for name, n in axes.items() if n > 1) or para_dtype(options)
        yield name, words, 1e3 * (mesh["seconds"]["step"] + mesh["seconds"]["prepare"] / options.steps)


def measure(options, case, ranks, variant, words):
    """A row of para's own: gpu, case, milliseconds."""
    model, size, text = case
    row = options.work / "row.csv"
    row.unlink(missing_ok=True)
    run(options, "bench", "transformer", model, *size, "--steps", options.steps, "--text-tokens", text, "--random-weights", "--repeats", 1, "--quiet",
        "--csv", row, "--variant", variant, *ranks_of(options, ranks), *words)
    last = list(csv.DictReader(row.open()))[-1]
    return last["gpu"], last["case"], float(last["ms"])


def compare(options, case, ranks, table):
    """Adds (gpu, ranks, case, variant, measured, predicted) of each mesh."""
    meshes = list(meshes_of(options, case, ranks))
    times = {variant: [] for variant, _, _ in meshes}
    for i in range(options.rounds):
        for variant, words, _ in meshes[i % len(meshes):] + meshes[:i % len(meshes)]:
            gpu, name, ms = measure(options, case, ranks, variant, words)
            times[variant].append(ms)
    for variant, _, predicted in meshes:
        table.append((gpu, ranks, name, variant, statistics.median(times[variant]), predicted))
        append_rows(options.csv, options.run, gpu, [(ranks, name, system, variant, ms) for system, ms in (("para", table[-1][4]), ("plan", predicted))])
        print(f"{name} {ranks} {variant}: measured {table[-1][4]:.3f} ms ({min(times[variant]):.3f} to {max(times[variant]):.3f}), predicted {predicted:.3f}", file=sys.stderr)


def wrong_orders(table, tie):
    """Pairs of meshes of one case that the prediction puts the other way round."""
    for i, a in enumerate(table):
        for b in table[:i]:
            if a[:3] == b[:3] and abs(a[4] - b[4]) > tie * min(a[4], b[4]) and (a[4] < b[4]) != (a[5] < b[5]):
                yield f"{a[2]} on {a[1]}: {a[3]} and {b[3]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=CASES, default="cpu")
    add_dtype(parser, None, " (float32 on the CPU, bfloat16 on GPUs)")
    parser.add_argument("--ranks", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--bound", type=float, default=0.07)
    parser.add_argument("--tie", type=float, default=0.02)
    parser.add_argument("--machine", type=Path)
    parser.add_argument("--work", type=Path, default=Path("out/bench"))
    parser.add_argument("--csv", type=Path, default=ROOT / "bench/results/plan.csv")
    parser.add_argument("--run", default=time.strftime("%Y-%m-%d") + "-plan")
    parser.add_argument("--para", type=Path, default=ROOT / "build/release/para")
    options = parser.parse_args()
    options.dtype = options.dtype or ("bfloat16" if options.device == "cuda" else "float32")
    options.work = options.work.resolve()
    options.work.mkdir(parents=True, exist_ok=True)
    options.para = options.para.resolve()
    ranks = [int(n) for n in options.ranks.split(",")]
    if options.machine:
        options.machine = options.machine.resolve()
    else:
        options.machine = options.work / "machine.json"
        for n in ranks:
            print(f"measuring the machine on {n}", file=sys.stderr)
            run(options, "bench", "machine", "-o", options.machine, *ranks_of(options, n))
    table = []
    for case in CASES[options.device]:
        for n in ranks:
            compare(options, case, n, table)
    print("| case | ranks | mesh | measured | predicted | off by |\n| --- | --- | --- | --- | --- | --- |")
    for _, n, name, variant, measured, predicted in table:
        print(f"| {name} | {n} | {variant} | {measured:.2f} ms | {predicted:.2f} ms | {100 * (predicted / measured - 1):+.1f} % |")
    missed = [f"{name} on {n}, {variant}" for _, n, name, variant, m, p in table if abs(p / m - 1) > options.bound]
    wrong = list(wrong_orders(table, options.tie))
    print(f"\n{len(missed)} of {len(table)} predictions are more than {100 * options.bound:g} % off" + "".join(f"; {name}" for name in missed))
    print(f"{len(wrong)} pairs of meshes in the wrong order" + "".join(f"; {name}" for name in wrong))
    return 1 if missed or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
