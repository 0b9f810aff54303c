"""The plot of docs/scaling.md: steps of FLUX.1-dev that para plan predicts for 1 to 64 H200s, beside those that were measured.

    python3 bench/plot_scaling.py [--para build/release/para] [--network 50] [-o docs/scaling.svg]

Rates are those that were measured on H200s (bench/RESULTS.md, bench/results), written as a machine file to --work. They were not measured on purpose for it: see
the comments. Between hosts nothing was measured: those lines take --network, in GB/s for each GPU, and hide no exchange. SPDX-License-Identifier: Apache-2.0
"""
import argparse
import csv
import json
import math
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GPUS = [1, 2, 4, 8, 16, 32, 64]
SIZES = [1024, 2048]
# Products of bfloat16, microseconds, sustained: cuBLAS in the table of "A product of our own"; the few rows of "Products, convolutions, VAE".
PRODUCTS = [(4608, 9216, 3072, 400), (4608, 12288, 3072, 536), (4608, 3072, 12288, 510), (4608, 3072, 3072, 134), (2304, 9216, 3072, 200), (1152, 9216, 3072, 113),
            (28, 18432, 3072, 52.7)]
# Bytes, microseconds: gated residual and norm, and norm and rotation of heads, of 4608 rows, in "Kernels that only move memory".
NORM, HEAD = (4608 * 3072 * 2 * 4, 34.3), (4608 * 3072 * 2 * 2, 17.5)
# What a dual block of Ulysses on 2 GPUs waited for its result, and for queries, keys and values: "Seen in the last row's Ulysses". Single blocks hid both.
# Of a few bytes: what lay between two copies, at most.
EXCHANGES = [(2304 * 12 * 128 * 2, 56), (3 * 2304 * 12 * 128 * 2, 120), (4096, 22)]
# No op is shorter than the gaps before cuBLASLt's kernels, at least.
LAUNCH = 2.4e-6


def rows_of(name):
    with (ROOT / "bench/results" / name).open() as file:
        return list(csv.DictReader(file))


def machine():
    """A set of rates of one GPU, and of two in a process."""
    attention = []
    for row in rows_of("attention.csv"):
        if (row["system"], row["variant"]) == ("para", "sustained"):
            b, h, s, d = (int(part[1:]) for part in row["case"].split("-")[1:])
            attention.append([b * h, s, s, d, 1e-3 * float(row["ms"])])
    largest = [1e-3 * float(row["ms"]) for row in rows_of("flux.csv") if row["case"] == "ceiling-gemm"][-1]
    micro = lambda rows: [[*sizes, 1e-6 * us] for *sizes, us in rows]  # noqa: E731
    return {"device": "NVIDIA H200", "gpu": True, "dtype": "bf16", "threads": 1, "ranks": 2, "launch": LAUNCH,
            "linear": micro(PRODUCTS) + [[8192, 8192, 8192, largest]], "attention": attention, "norm": micro([NORM]), "head": micro([HEAD]),
            # Not measured: as fast as the residual; an activation is on its product's way out.
            "copy": micro([NORM]), "activation": micro([NORM]), "merge": micro([NORM]), "epilogue": [[NORM[0], 1e-9]],
            "exchange": {"process": {"overlap": 1.0, "points": [[1, *row] for row in micro(EXCHANGES)]}}}


def predict(options, size, gpus, *words):
    """Milliseconds of a step on the mesh that is predicted to be the fastest, and that mesh."""
    report = options.work / "plan.json"
    command = [options.para, "plan", ROOT / "bench/configs/flux.1-dev", "--width", size, "--height", size, "--dtype", "bf16", "--ranks", gpus, "--machine",
               options.work / "h200.json", "--report", report, *words]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stderr}")
    mesh = json.loads(report.read_text())["meshes"][0]
    return 1e3 * mesh["seconds"]["step"], f"{mesh['ring']} x {mesh['ulysses']}"


def measured():
    """{(size, gpus, ring or not): ms} of the last run of each."""
    points = {}
    for row in rows_of("gpus.csv"):
        if row["system"] == "para" and row["case"].startswith("flux.1-dev-") and row["variant"] in ("bf16", "direct", "ring", "ulysses-mixed-unrecorded"):
            points[int(row["case"].split("-")[-1]), int(row["gpus"]), row["variant"] == "ring"] = float(row["ms"])
    return points


class Plot:
    """Two logarithmic axes."""

    WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 834, 470, 66, 62, 268, 48

    def __init__(self, least, most):
        self.least, self.most = math.log10(least), math.log10(most)
        self.out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.WIDTH}" height="{self.HEIGHT}" font-family="sans-serif" font-size="12">',
                    '<rect width="100%" height="100%" fill="#fff"/>']

    def x(self, gpus):
        return self.LEFT + (self.WIDTH - self.LEFT - self.RIGHT) * math.log2(gpus) / math.log2(GPUS[-1])

    def y(self, ms):
        return self.HEIGHT - self.BOTTOM - (self.HEIGHT - self.TOP - self.BOTTOM) * (math.log10(ms) - self.least) / (self.most - self.least)

    def text(self, x, y, words, more=""):
        self.out.append(f'<text x="{x:.1f}" y="{y:.1f}" {more}>{words}</text>')

    def axes(self, ticks):
        left, right, top, bottom = self.LEFT, self.WIDTH - self.RIGHT, self.TOP, self.HEIGHT - self.BOTTOM
        for ms in ticks:
            self.out.append(f'<path stroke="#ddd" d="M{left} {self.y(ms):.1f}H{right}"/>')
            self.text(left - 6, self.y(ms) + 4, f"{ms:g}", 'text-anchor="end"')
        for gpus in GPUS:
            self.out.append(f'<path stroke="#ddd" d="M{self.x(gpus):.1f} {top}V{bottom}"/>')
            self.text(self.x(gpus), bottom + 16, gpus, 'text-anchor="middle"')
        self.out.append(f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}" fill="none" stroke="#444"/>')
        self.text((left + right) / 2, bottom + 36, "H200 GPUs", 'text-anchor="middle"')
        self.text(0, 0, "step, ms", f'text-anchor="middle" transform="translate(16 {(top + bottom) / 2}) rotate(-90)"')

    def line(self, points, colour, dash=""):
        path = "L".join(f"{self.x(gpus):.1f} {self.y(ms):.1f}" for gpus, ms in points)
        self.out.append(f'<path fill="none" stroke="{colour}" stroke-width="1.8" stroke-dasharray="{dash}" d="M{path}"/>')

    def mark(self, gpus, ms, colour, square):
        x, y = self.x(gpus), self.y(ms)
        shape = f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"' if square else f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5"'
        self.out.append(f'{shape} fill="{"#fff" if square else colour}" stroke="{colour}" stroke-width="1.6"/>')

    def legend(self, entries):
        x = self.WIDTH - self.RIGHT + 16
        for i, (draw, words) in enumerate(entries):
            y = self.TOP + 14 + 20 * i
            self.out.append(draw(x, y))
            self.text(x + 34, y + 4, words)

    def save(self, path):
        path.write_text("\n".join(self.out) + "\n</svg>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--para", type=Path, default=ROOT / "build/release/para")
    parser.add_argument("--work", type=Path, default=Path("out/bench"))
    parser.add_argument("--network", type=float, default=50)
    parser.add_argument("-o", dest="output", type=Path, default=ROOT / "docs/scaling.svg")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    (options.work / "h200.json").write_text(json.dumps({"paraattn_machine": 1, "sets": [machine()]}))
    colours = {1024: "#0072b2", 2048: "#d55e00"}
    near, far = {}, {}
    print("| | GPUs | copies between GPUs of one host | the same over a network of "
          f"{options.network:g} GB/s a GPU |\n| --- | --- | --- | --- |")
    for size in SIZES:
        for gpus in GPUS:
            near[size, gpus] = predict(options, size, gpus)
            far[size, gpus] = predict(options, size, gpus, "--link", options.network) if gpus > 1 else near[size, gpus]
            print(f"| {size}×{size} | {gpus} | {near[size, gpus][0]:.1f} ms ({near[size, gpus][1]}) | {far[size, gpus][0]:.1f} ms ({far[size, gpus][1]}) |", flush=True)
    plot = Plot(1.5, 1000)
    plot.axes([2, 5, 10, 20, 50, 100, 200, 500, 1000])
    plot.text(plot.LEFT, 22, "A step of FLUX.1-dev (bf16) on H200s: lines are PREDICTED by para plan, marks are measured", 'font-size="14"')
    plot.text(plot.LEFT, 42, "predicted from rates of one and two GPUs of one host; no other number of GPUs was ever run", 'fill="#555"')
    for size in SIZES:
        plot.line([(g, near[size, 1][0] / g) for g in GPUS], "#999", "2 4")
        plot.line([(g, near[size, g][0]) for g in GPUS], colours[size])
        plot.line([(g, far[size, g][0]) for g in GPUS], colours[size], "7 4")
    for (size, gpus, ring), ms in measured().items():
        plot.mark(gpus, ms, colours[size], ring)
    stroke = lambda colour, dash: lambda x, y: f'<path stroke="{colour}" stroke-width="1.8" stroke-dasharray="{dash}" d="M{x} {y}h26"/>'  # noqa: E731
    dot = lambda square: lambda x, y: (f'<rect x="{x + 9}" y="{y - 4}" width="8" height="8" fill="#fff" stroke="#333" stroke-width="1.6"/>' if square  # noqa: E731
                                       else f'<circle cx="{x + 13}" cy="{y}" r="4.5" fill="#333"/>')
    entries = []
    for size in reversed(SIZES):
        entries += [(stroke(colours[size], ""), f"{size}×{size}, predicted, NVLink"), (stroke(colours[size], "7 4"), f"{size}×{size}, predicted, network*")]
    entries += [(stroke("#999", "2 4"), "as many times faster as GPUs"), (dot(False), "measured, 1 GPU and Ulysses 2"), (dot(True), "measured, Ring 2")]
    plot.legend(entries)
    plot.text(plot.WIDTH - plot.RIGHT + 16, plot.TOP + 20 * len(entries) + 24, f"* every exchange at {options.network:g} GB/s a GPU,")
    plot.text(plot.WIDTH - plot.RIGHT + 16, plot.TOP + 20 * len(entries) + 40, "none hidden: assumed, not measured")
    plot.save(options.output)


if __name__ == "__main__":
    main()
