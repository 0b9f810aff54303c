"""para bench as one side of a comparison: a process that stays, or several; turns of all sides, and the rows of the CSV. SPDX-License-Identifier: Apache-2.0"""
import atexit
import os
import random
import socket
import statistics
import subprocess
import tempfile
import time
from pathlib import Path


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def rank_environments(ranks):
    """What a launcher gives each of its processes."""
    port = str(free_port())
    return [{**os.environ, "RANK": str(i), "LOCAL_RANK": str(i), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            for i in range(ranks)]


def end_with_us(processes):
    """Whatever ends us: they are not left behind."""
    atexit.register(lambda: [process.kill() for process in processes if process.poll() is None])


class Served:
    """A program that says "ready", with numbers, and answers a line with numbers; what it holds stays loaded between.

    processes: so many of them, as a launcher starts them; the first one speaks. prefix: words that start `ranks` of them, mpirun's."""

    def __init__(self, *words, processes=1, prefix=(), ranks=1):
        environments = rank_environments(processes) if processes > 1 else [None]
        if prefix:  # mpirun hands its standard input to the first rank alone
            self.folder = tempfile.TemporaryDirectory()
            lines = [os.path.join(self.folder.name, str(i)) for i in range(ranks)]
            for path in lines:
                os.mkfifo(path)
            prefix = [*prefix, "sh", "-c", f'exec "$@" <{self.folder.name}/$OMPI_COMM_WORLD_RANK', "sh"]
        self.processes = [subprocess.Popen([*prefix, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) for env in environments]
        end_with_us(self.processes)
        self.inputs = [open(os.open(path, os.O_RDWR), "w") for path in lines] if prefix else [process.stdin for process in self.processes]
        first, *self.ready = self.processes[0].stdout.readline().split() or [""]
        if first != "ready":
            raise SystemExit("did not start: " + " ".join([*prefix, *words]))

    def run(self):
        """Milliseconds, and what else it gives."""
        for lines in self.inputs:
            lines.write("\n")
            lines.flush()
        numbers = [float(word) for word in self.processes[0].stdout.readline().split()]
        if not numbers:
            raise SystemExit("ended: " + " ".join(self.processes[0].args))
        return numbers

    def close(self):
        for lines in self.inputs:
            lines.close()
        if any(process.wait() for process in self.processes):
            raise SystemExit("failed in the end: " + " ".join(self.processes[0].args))


class ParaBench(Served):
    """para bench ... --wait: a line starts a run. ready: the numbers that it begins with."""

    def __init__(self, *words, **start):
        super().__init__(*words, "--quiet", "--wait", **start)


def para_step(a, family, inputs, output, *words, device=None, **start):
    """para's denoising step, which writes its prediction to `output` before the first run."""
    return ParaBench(a.para, "bench", "transformer", str(a.model), "--inputs", inputs, "--save-output", output, *family.para_words(),
                     "--steps", str(a.steps), "--device", device or a.device, "--dtype", para_dtype(a), *a.para_options.split(), *words, **start)


PARA_DTYPES = {"bfloat16": "bf16", "float32": "f32"}  # torch's names, which the scripts take, and para's


def add_dtype(parser, default="bfloat16", note=""):
    parser.add_argument("--dtype", choices=tuple(PARA_DTYPES), default=default, help="type of the activations, as torch names it" + (note or " (%(default)s)"))


def para_dtype(a):
    return PARA_DTYPES[a.dtype]


def run_para(*words):
    """What it prints; where it fails, we end with what it says."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode:
        end_as_para(done.returncode, done.stderr)
    return done.stdout


def end_as_para(code, said):
    raise SystemExit(said.strip() or f"para ended with {code}")


def take_turns(sides, rounds):
    """Each side's results of run(), one of each round; a round runs all in random order."""
    results = {name: [] for name in sides}
    for _ in range(rounds):
        for name in random.sample(list(sides), len(sides)):
            results[name].append(sides[name].run())
    return results


def show_times(case, times, ours, note=lambda side, ms: ""):
    """Prints medians and ratios of {side: milliseconds}; gives {side: median}."""
    medians = {side: statistics.median(values) for side, values in times.items()}
    for (system, variant), ms in medians.items():
        values = times[system, variant]
        print(f"{case} {system} {variant}: {ms:.2f} ms ({min(values):.2f} to {max(values):.2f}){note((system, variant), ms)}; para takes {medians[ours] / ms:.3f} x",
              flush=True)
    return medians


def add_para_arguments(parser):
    """What every driver asks: the weights, para, and on what both compute."""
    parser.add_argument("model", type=Path, help="a diffusers folder with weights, of bench/peers/make_weights.py for example")
    parser.add_argument("--para", default="build/release/para")
    parser.add_argument("--para-options", default="", help="more words for para, in one")
    parser.add_argument("--device", default="cuda", help="cuda or cpu")
    add_dtype(parser)


def add_arguments(parser, variants, run, steps=28):
    """What a driver asks that times para beside diffusers; run: the end of the CSV's column run."""
    add_para_arguments(parser)
    parser.add_argument("--variants", default=variants, help="of diffusers, with commas between; few make it short (%(default)s)")
    parser.add_argument("--width", type=int)
    parser.add_argument("--height", type=int)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--csv", help="file that rows are added to")
    parser.add_argument("--run", default=time.strftime("%Y-%m-%d") + run, help="the rows' first column (%(default)s)")
    parser.add_argument("--case", help="the rows' fourth column")


def names(text):
    return [name for name in text.split(",") if name]


def append(path, run, device, rows):
    """append_rows, on the GPU that torch names. path None: nowhere."""
    if not path:
        return
    import torch

    append_rows(path, run, torch.cuda.get_device_name() if device.startswith("cuda") else "CPU", rows)


def append_rows(path, run, gpu, rows):
    """rows: (case, system, variant, ms), or with the number of GPUs before them where it is not 1."""
    new = not os.path.exists(path)
    with open(path, "a") as f:
        if new:
            f.write("run,gpu,gpus,case,system,variant,ms\n")
        for row in rows:
            *gpus, case, system, variant, ms = row
            f.write(f"{run},{gpu},{gpus[0] if gpus else 1},{case},{system},{variant},{ms:.5f}\n")
