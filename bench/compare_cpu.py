"""para against diffusers on the CPU: the table of README.md, written to bench/results/cpu.csv and printed as Markdown.

    python3 bench/compare_cpu.py [--rounds 5] [--threads 2] [--work FOLDER] [--para build/release/para]

Each round runs both programs once for each case, the one that begins alternating, as processes of their own with the same
threads; figures are medians. Needs torch, diffusers and transformers. SPDX-License-Identifier: Apache-2.0
"""
import argparse
import csv
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROMPT = "a red heart on a blue background"


def run(command):
    """Seconds from process start to end, standard output."""
    start = time.perf_counter()
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stderr}")
    return time.perf_counter() - start, done.stdout


def run_para(options, case, work):
    report = work / "report.json"
    seconds, _ = run([options.para, "generate", case["model"], "--prompt", PROMPT, "--seed", 7, "--steps", case["steps"],
                      "--max-sequence-length", case["sequence"], "--dtype", case["dtype"], "--threads", options.threads,
                      "--report", report, "--quiet", "-o", work / "para.png"])
    figures = json.loads(report.read_text())
    return {"whole": seconds, "step": figures["seconds"]["step"], "peak": figures["bytes"]["peak_memory"]}


def run_diffusers(options, case, work):
    seconds, out = run([sys.executable, ROOT / "bench/peers/diffusers_cpu.py", case["model"], options.threads, case["steps"],
                        case["sequence"], case["dtype"], work / "diffusers.png"])
    figures = json.loads(out.splitlines()[-1])
    return {"whole": seconds, "step": figures["step"], "peak": figures["peak_memory"]}


def measure(options, case, work):
    """Medians of both sides."""
    systems = {"para": run_para, "diffusers": run_diffusers}
    samples = {name: [] for name in systems}
    for i in range(options.rounds):
        order = list(systems) if i % 2 == 0 else list(systems)[::-1]
        for name in order:
            samples[name].append(systems[name](options, case, work))
            last = samples[name][-1]
            print(f"{case['name']} {case['dtype']} round {i + 1}/{options.rounds} {name}: step {last['step']:.3f} s, "
                  f"whole {last['whole']:.2f} s, peak {last['peak'] / 1e6:.0f} MB", file=sys.stderr)
    return {name: {key: statistics.median(s[key] for s in rows) for key in rows[0]} for name, rows in samples.items()}


def predicted_peak(options, case):
    """para plan's peak memory in bytes."""
    _, out = run([options.para, "plan", case["model"], "--steps", case["steps"], "--max-sequence-length", case["sequence"],
                  "--dtype", case["dtype"], "--threads", options.threads])
    return float(re.search(r"peak memory\s+([\d.]+) MB", out)[1]) * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("out/bench"))
    parser.add_argument("--para", type=Path, default=ROOT / "build/release/para")
    options = parser.parse_args()
    tiny, middle = ROOT / "models/tiny-flux", options.work / "middle"
    options.work.mkdir(parents=True, exist_ok=True)
    if not (middle / "model_index.json").exists():
        run([sys.executable, ROOT / "bench/peers/make_middle.py", tiny, middle])
    cases = [
        {"name": "tiny-flux", "model": tiny, "steps": 20, "sequence": 512, "dtype": "f32"},
        {"name": "middle", "model": middle, "steps": 3, "sequence": 128, "dtype": "f32"},
        {"name": "middle", "model": middle, "steps": 3, "sequence": 128, "dtype": "bf16"},
    ]
    rows = []
    print("| case | | para | diffusers | ratio |\n| --- | --- | --- | --- | --- |")
    for case in cases:
        medians = measure(options, case, options.work)
        ours, theirs = medians["para"], medians["diffusers"]
        name = f"{case['name']}, {case['dtype']}"
        for key, label, unit, scale in (("step", "transformer step", "s", 1), ("whole", "process start to file", "s", 1), ("peak", "peak memory", "MB", 1e6)):
            print(f"| {name} | {label} | {ours[key] / scale:.3g} {unit} | {theirs[key] / scale:.3g} {unit} | {theirs[key] / ours[key]:.2f} |")
            for system, figures in medians.items():
                rows.append([time.strftime("%Y-%m-%d"), f"{case['name']}-{case['dtype']}", system, options.threads, label, figures[key]])
        predicted = predicted_peak(options, case)
        print(f"| {name} | planned peak memory | {predicted / 1e6:.3g} MB | | {predicted / ours['peak']:.2f} of measured |")
    results = ROOT / "bench/results/cpu.csv"
    results.parent.mkdir(exist_ok=True)
    with results.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "case", "system", "threads", "figure", "median"])
        writer.writerows(rows)


main()
