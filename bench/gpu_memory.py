"""How well para plan predicts what a whole picture or video takes of a GPU's memory: predicted, and as the driver saw it, on random weights.

    python3 bench/gpu_memory.py bench/configs/hunyuan-video --width 1280 --height 720 --frames 129
    python3 bench/gpu_memory.py bench/configs/flux.1-dev --width 1024 --height 1024

One request of one step, text encoders and VAE included, by para bench pipeline, while nvidia-smi is asked 20 times a second; nothing else may run on the GPU.
What is predicted is that everything stays on it, so it must have room for that. Ends with 1 where they are more than --bound apart. SPDX-License-Identifier: Apache-2.0
"""
import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from para_bench import add_dtype, end_as_para, para_dtype, run_para  # noqa: E402

GB = 1e9
SMI = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]


def used(gpu):
    return int(run_para(*SMI, f"--id={gpu}")) * 2**20


def most_used(gpu, words):
    """The most bytes that are used while the program runs."""
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as seen:
        watch = subprocess.Popen([*SMI, f"--id={gpu}", "-lms", "50"], stdout=seen)
        try:
            code = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=said).returncode
        finally:
            watch.terminate()
            watch.wait()
        if code:
            said.seek(0)
            end_as_para(code, said.read())
        seen.seek(0)
        return max(map(int, seen.read().split()), default=0) * 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a folder with the model's configs")
    parser.add_argument("--para", default="build/release/para")
    parser.add_argument("--gpu", type=int, default=0)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--height", type=int, required=True)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--bound", type=float, default=0.05)
    add_dtype(parser)
    a = parser.parse_args()
    size = ["--width", str(a.width), "--height", str(a.height), *(["--frames", str(a.frames)] if a.frames else []), "--steps", "1", "--dtype", para_dtype(a)]
    planned = float(re.search(r"^GPU memory\s+([\d.]+) GB for everything", run_para(a.para, "plan", a.model, *size), re.M).group(1)) * GB
    before = used(a.gpu)
    words = [a.para, "bench", "pipeline", a.model, "--random-weights", *size, "--repeats", "1", "--quiet", "--device", f"cuda:{a.gpu}"]
    measured = most_used(a.gpu, words) - before
    print(f"{Path(a.model).name} {a.width}x{a.height}{f'x{a.frames}' if a.frames else ''}: planned {planned / GB:.1f} GB, measured {measured / GB:.2f} GB: {planned / measured:.3f} x")
    return not 1 - a.bound <= planned / measured <= 1 + a.bound


if __name__ == "__main__":
    sys.exit(main())
