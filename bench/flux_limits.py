"""What para's FLUX costs beside the steps: a hit of the cache, a cold start, small GPUs and full ones.

    python3 bench/flux_limits.py hit bench/configs/flux.1-dev --csv bench/results/flux.csv
    python3 bench/peers/make_weights.py bench/configs/flux.1-dev /tmp/flux --tokenizers models/tiny-flux
    python3 bench/flux_limits.py start /tmp/flux
    python3 bench/flux_limits.py caps /tmp/flux

hit:   a step whose blocks the cache leaves out, beside a model of nothing but its first block and its head: at most 1.10 x.
start: from the process's start to the loaded model, no file in the page cache, beside plain reading of the same files: at most 1.2 x; and the most
       anonymous and shared (pinned) host memory on the way: at most 2 GB.
caps:  the picture under --memory-limit 48G, and 24G with --offload, alone and while another process holds the rest of the GPU: the same bits; and the
       offloaded step beside its blocks' bytes over the measured host-to-device rate, or the resident step: at most 1.3 x the longer one.

Needs torch for caps and --csv alone. Ends with 1 where a limit is missed. SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from para_bench import add_dtype, append, end_as_para, para_dtype, run_para  # noqa: E402

GB = 1e9
PROMPT = "a red heart on a blue background"
missed = []


def judge(what, value, limit):
    print(f"{what}: {value:.3f}, wanted at most {limit}", flush=True)
    if not value <= limit:
        missed.append(what)


# ---- a hit


def step_ms(a, model, *options):
    text = run_para(a.para, "bench", "transformer", model, "--random-weights", "--device", a.device, "--dtype", para_dtype(a), "--width", a.width, "--height",
                    a.height, "--steps", a.steps, "--repeats", a.rounds, "--quiet", *options)
    hits = re.search(r"^cache\s+(\d+) of", text, re.M)
    return float(re.search(r"^step\s+([\d.]+) ms", text, re.M).group(1)), int(hits.group(1)) if hits else 0


def hit(a):
    with tempfile.TemporaryDirectory() as place:
        alone = Path(place) / "first-block"
        shutil.copytree(a.model, alone, ignore=shutil.ignore_patterns("*.safetensors"))
        path = alone / "transformer" / "config.json"
        path.write_text(json.dumps(dict(json.loads(path.read_text()), num_layers=1, num_single_layers=0)))
        whole, _ = step_ms(a, a.model)
        cached, hits = step_ms(a, a.model, "--cache", "1000000")
        first, _ = step_ms(a, alone)
    assert hits == a.steps - 1, f"{hits} hits in {a.steps} steps"
    one = (a.steps * cached - whole) / hits
    print(f"step {whole:.3f} ms, hit {one:.3f} ms, embedding + first block + head {first:.3f} ms")
    judge("a hit over its parts alone", one / first, 1.10)
    if a.csv:
        gpus = a.device.count(",") + 1
        append(a.csv, a.run, a.device, [(gpus, f"{a.model.name}-{a.width}", "para", variant, ms)
                                     for variant, ms in (("step", whole), ("cache-hit", one), ("first-block-alone", first))])


# ---- a cold start


def forget(files):
    for path in files:
        fd = os.open(path, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def read_plainly(files):
    buffer = bytearray(16 << 20)
    start = time.perf_counter()
    for path in files:
        with open(path, "rb", buffering=0) as f:
            while f.readinto(buffer):
                pass
    return time.perf_counter() - start


def host_memory(pid):
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return 1024 * sum(int(kb) for kb in re.findall(r"^(?:RssAnon|RssShmem):\s+(\d+)", text, re.M))


def generate(a, *options, watch=False):
    """The report of one run; with watch also the most host memory."""
    with tempfile.TemporaryDirectory() as place, open(Path(place) / "said", "w+") as said:
        report, out = Path(place) / "report.json", Path(place) / "out.safetensors"
        words = [a.para, "generate", str(a.model), "--prompt", PROMPT, "--device", a.device, "--dtype", para_dtype(a), "--width", str(a.width), "--height",
                 str(a.height), "--steps", str(a.steps), "--report", str(report), "-o", str(out), "--quiet", *options]
        start, most = time.perf_counter(), 0
        process = subprocess.Popen(words, stderr=said)
        while process.poll() is None:
            if watch:
                most = max(most, host_memory(process.pid))
            time.sleep(0.02)
        if process.returncode:
            said.seek(0)
            end_as_para(process.returncode, said.read())
        seconds = time.perf_counter() - start
        header = struct.unpack("<Q", out.read_bytes()[:8])[0]
        return dict(json.loads(report.read_text()), wall=seconds, most=most, pixels=out.read_bytes()[8 + header:])


def start(a):
    files = sorted(a.model.rglob("*.safetensors"))
    size = sum(path.stat().st_size for path in files)
    reads, loads, most = [], [], 0
    for _ in range(a.rounds):
        forget(files)
        reads.append(read_plainly(files))
        forget(files)
        run = generate(a, watch=True)
        loads.append(run["wall"] - sum(run["seconds"][stage] for stage in ("text", "denoise", "decode")))
        most = max(most, run["most"])
        print(f"{size / GB:.2f} GB: plain reading {reads[-1]:.2f} s, start and load {loads[-1]:.2f} s", flush=True)
    judge("start over plain reading", sorted(loads)[a.rounds // 2] / sorted(reads)[a.rounds // 2], 1.2)
    judge("anonymous and shared host memory, GB", most / GB, 2.0)


# ---- small GPUs

HOLD = """
import sys, torch
keep = float(sys.argv[1]) * 2**30
free, _ = torch.cuda.mem_get_info()
held = torch.empty(max(int(free - keep), 0), dtype=torch.uint8, device="cuda")
print("held", flush=True)
sys.stdin.read()
"""

RATE = """
import time, torch
a = torch.empty(1 << 30, dtype=torch.uint8, pin_memory=True)
b = torch.empty_like(a, device="cuda")
best = 0
for _ in range(5):
    torch.cuda.synchronize(); t = time.perf_counter(); b.copy_(a, non_blocking=True); torch.cuda.synchronize()
    best = max(best, a.numel() / (time.perf_counter() - t))
print(best)
"""


def caps(a):
    whole = generate(a)
    blocks = sum(path.stat().st_size for path in (a.model / "transformer").glob("*.safetensors"))
    rate = float(subprocess.run([sys.executable, "-c", RATE], check=True, capture_output=True, text=True).stdout)
    floor = max(blocks / rate, whole["seconds"]["step"])
    print(f"resident step {1e3 * whole['seconds']['step']:.1f} ms; {blocks / GB:.1f} GB at {rate / GB:.1f} GB/s take {1e3 * blocks / rate:.1f} ms", flush=True)
    for cap, options in ((48, []), (24, ["--offload"])):
        for room in (None, cap):
            other = None
            if room:
                other = subprocess.Popen([sys.executable, "-c", HOLD, str(room)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                assert other.stdout.readline().strip() == "held"
            try:
                run = generate(a, "--memory-limit", f"{cap}G", *options)
            finally:
                if other:
                    other.communicate()
            what = f"{cap} GB{' with --offload' if options else ''}{', the rest held by another process' if room else ''}"
            print(f"{what}: step {1e3 * run['seconds']['step']:.1f} ms, picture {'the same' if run['pixels'] == whole['pixels'] else 'another'}", flush=True)
            if run["pixels"] != whole["pixels"]:
                missed.append(what)
            if options:
                judge(f"{what}: step over floor", run["seconds"]["step"] / floor, 1.3)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("hit", "start", "caps"))
    parser.add_argument("model", type=Path)
    parser.add_argument("--para", default="build/release/para")
    parser.add_argument("--device", default="cuda")
    add_dtype(parser)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--csv")
    parser.add_argument("--run", default=time.strftime("%Y-%m-%d") + "-flux-limits")
    a = parser.parse_args()
    {"hit": hit, "start": start, "caps": caps}[a.what](a)
    if missed:
        sys.exit("missed: " + "; ".join(missed))


if __name__ == "__main__":
    main()
