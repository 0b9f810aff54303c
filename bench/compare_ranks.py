"""What splitting one picture costs: 2 ranks of one thread against 1 rank of two threads, on the middle model.

    python3 bench/compare_ranks.py [--rounds 5] [--steps 3] [--work FOLDER] [--para build/release/para]

Each round runs every arrangement once, the one that begins alternating. Figures are medians of the time of a denoising step, written to
bench/results/ranks.csv and printed as Markdown. The middle model is made as compare_cpu.py makes it. SPDX-License-Identifier: Apache-2.0
"""
import argparse
import csv
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Name, options of para, bound of the ratio to the first.
ARRANGEMENTS = [
    ("1 rank", [], None),
    ("2 ranks, Ulysses", ["--ranks", "2", "--ulysses", "2"], 1.10),
    ("2 ranks, Ring", ["--ranks", "2", "--ring", "2"], 1.15),
]


def step_seconds(options, arrangement):
    """Seconds of a step."""
    report = options.work / "report.json"
    command = [options.para, "generate", options.work / "middle", "--prompt", "a red heart on a blue background", "--seed", 7, "--steps", options.steps,
               "--max-sequence-length", 128, "--threads", 2, "--report", report, "--quiet", "-o", options.work / "para.png", *arrangement]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stderr}")
    return json.loads(report.read_text())["seconds"]["step"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("out/bench"))
    parser.add_argument("--para", type=Path, default=ROOT / "build/release/para")
    options = parser.parse_args()
    samples = {name: [] for name, _, _ in ARRANGEMENTS}
    for i in range(options.rounds):
        for name, words, _ in ARRANGEMENTS[i % 3:] + ARRANGEMENTS[:i % 3]:
            samples[name].append(step_seconds(options, words))
            print(f"round {i + 1}/{options.rounds} {name}: {samples[name][-1]:.3f} s", file=sys.stderr)
    medians = {name: statistics.median(values) for name, values in samples.items()}
    alone = medians[ARRANGEMENTS[0][0]]
    print("| | step | of 1 rank | bound |\n| --- | --- | --- | --- |")
    missed = []
    for name, _, bound in ARRANGEMENTS:
        ratio = medians[name] / alone
        print(f"| {name} | {medians[name]:.3f} s | {ratio:.3f} | {bound or ''} |")
        if bound and ratio > bound:
            missed.append(name)
    with (ROOT / "bench/results/ranks.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "arrangement", "steps", "samples", "step seconds, median", "least", "most"])
        for name, values in samples.items():
            writer.writerow([time.strftime("%Y-%m-%d"), name, options.steps, len(values), medians[name], min(values), max(values)])
    sys.exit(f"beyond the bound: {', '.join(missed)}" if missed else 0)


main()
