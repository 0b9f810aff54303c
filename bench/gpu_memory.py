"""How well para plan predicts what a whole picture or video takes of a GPU's memory: predicted, and as the driver saw it, on random weights.

    python3 bench/gpu_memory.py bench/configs/hunyuan-video --width 1280 --height 720 --frames 129
    python3 bench/gpu_memory.py bench/configs/flux.1-dev --width 1024 --height 1024

One request of one step, text encoders and VAE included, by para bench pipeline; nothing else may run on the GPU. Needs torch.
What is predicted is that everything stays on it, so it must have room for that. Ends with 1 where they are more than --bound apart. SPDX-License-Identifier: Apache-2.0
"""
import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from para_bench import add_dtype, para_dtype, run_para  # noqa: E402
from used_memory import UsedMemory  # noqa: E402

GB = 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a folder with the model's configs")
    parser.add_argument("--para", default="build/release/para")
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--height", type=int, required=True)
    parser.add_argument("--frames", type=int)
    parser.add_argument("--bound", type=float, default=0.05)
    add_dtype(parser)
    a = parser.parse_args()
    size = ["--width", str(a.width), "--height", str(a.height), *(["--frames", str(a.frames)] if a.frames else []), "--steps", "1", "--dtype", para_dtype(a)]
    planned = float(re.search(r"^GPU memory\s+([\d.]+) GB for everything", run_para(a.para, "plan", a.model, *size), re.M).group(1)) * GB
    memory = UsedMemory("cuda")
    run_para(a.para, "bench", "pipeline", a.model, "--random-weights", *size, "--repeats", "1", "--quiet", "--device", "cuda")
    measured = memory.most()
    print(f"{Path(a.model).name} {a.width}x{a.height}{f'x{a.frames}' if a.frames else ''}: planned {planned / GB:.1f} GB, measured {measured / GB:.2f} GB: {planned / measured:.3f} x")
    return not 1 - a.bound <= planned / measured <= 1 + a.bound


if __name__ == "__main__":
    sys.exit(main())
