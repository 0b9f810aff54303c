"""para bench as one side of a comparison: a process that stays, and the rows of its CSV. SPDX-License-Identifier: Apache-2.0"""
import os
import subprocess
import time
from pathlib import Path


class ParaBench:
    """para bench ... --wait: weights stay loaded, a line starts a run. ready: the numbers that it begins with."""

    def __init__(self, *words):
        self.process = subprocess.Popen([*words, "--quiet", "--wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        first, *self.ready = self.process.stdout.readline().split() or [""]
        assert first == "ready", "para did not start"

    def run(self):
        """Milliseconds, as many as the benchmark gives."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return [float(word) for word in self.process.stdout.readline().split()]

    def close(self):
        self.process.stdin.close()
        assert self.process.wait() == 0


def add_arguments(parser, variants, run):
    """What a driver asks that times para beside diffusers; run: the end of the CSV's column run."""
    parser.add_argument("model", type=Path)
    parser.add_argument("--para", default="build/release/para")
    parser.add_argument("--para-options", default="")
    parser.add_argument("--variants", default=variants)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--csv")
    parser.add_argument("--run", default=time.strftime("%Y-%m-%d") + run)


def append(path, run, gpu, rows):
    """rows: (case, system, variant, ms)"""
    new = not os.path.exists(path)
    with open(path, "a") as f:
        if new:
            f.write("run,gpu,gpus,case,system,variant,ms\n")
        f.writelines(f"{run},{gpu},1,{case},{system},{variant},{ms:.5f}\n" for case, system, variant, ms in rows)
