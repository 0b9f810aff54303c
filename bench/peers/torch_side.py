"""A comparison's other side in processes of its own: ParaAttention, or diffusers on several devices; the steps of bench/compare_gpus.py and compare_video.py.

As a program it is one rank of that side, which obeys the lines that rank 0 reads: "run VARIANT", "save VARIANT FILE". Needs para-attn 0.3.38 (installed without its
dependencies) where the system is paraattention. SPDX-License-Identifier: Apache-2.0
"""
import datetime
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from para_bench import end_with_us, rank_environments

MARK = "> "  # before what is meant for the driver; libraries print, too


class TorchSide:
    """`ranks` processes with the model and its variants; one of (system, variant) for each is in sides(). They load side by side until ready()."""

    def __init__(self, a, family, inputs, system, variants, ranks):
        self.system, self.variants, self.ranks = system, variants, ranks
        words = json.dumps(dict(system=system, family=family, model=str(a.model), width=a.width, height=a.height, frames=a.frames, text_tokens=a.text_tokens,
                                padded_text=a.padded_text, inputs=inputs, steps=a.steps, device=a.device, dtype=a.dtype, variants=variants))
        self.log = tempfile.NamedTemporaryFile("w+", prefix=f"{system}-", suffix=".log")
        self.processes = [subprocess.Popen([sys.executable, __file__, words], stdin=subprocess.PIPE if i == 0 else subprocess.DEVNULL,
                                           stdout=subprocess.PIPE if i == 0 else self.log, stderr=self.log, text=True, env=env)
                          for i, env in enumerate(rank_environments(ranks))]
        end_with_us(self.processes)
        threading.Thread(target=self.watch, daemon=True).start()

    def watch(self):
        """Where one has ended, the others would wait for it for ever."""
        while all(process.poll() is None for process in self.processes):
            time.sleep(0.5)
        time.sleep(10)  # those that end by themselves do
        for process in self.processes:
            process.kill()

    def line(self):
        for line in self.processes[0].stdout:
            if line.startswith(MARK):
                return line[len(MARK):].strip()
        self.log.seek(0)
        sys.exit(f"{self.system} on {self.ranks} ended:\n" + self.log.read()[-4000:])

    def ready(self):
        while (line := self.line()) != "ready":
            print(f"{self.system} on {self.ranks}, {line}", flush=True)
        return self

    def ask(self, *words):
        print(*words, file=self.processes[0].stdin, flush=True)
        return self.line()

    def sides(self):
        return {(self.system, name): Variant(self, name) for name in self.variants}

    def close(self):
        self.processes[0].stdin.close()
        for process in self.processes:
            process.wait()


class Variant:
    def __init__(self, side, name):
        self.side, self.name = side, name

    def run(self):
        """Milliseconds of a step, in a list."""
        return [float(self.side.ask("run", self.name))]

    def prediction(self):
        from safetensors.torch import load_file

        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "prediction.safetensors")
            self.side.ask("save", self.name, path)
            return load_file(path)["prediction"]


def native(model, family, name, ranks):
    """diffusers' context parallelism, as NAME or NAME-compiled."""
    import torch
    from diffusers import ContextParallelConfig
    from torch_step import compile_blocks, sharing

    kind = name.removesuffix("-compiled")
    model = sharing(model)
    if model.device.type == "cuda":
        model.set_attention_backend("_native_cudnn")
    else:
        model.set_attention_backend("native")
        torch.accelerator.device_count = lambda: 1  # it divides by their number
    model.enable_parallelism(config=ContextParallelConfig(**{f"{kind}_degree": ranks}))
    return compile_blocks(model, fullgraph=False) if name != kind else model


def hunyuan_of_today(model):
    """ParaAttention calls this family's time embedding as older diffusers have it."""
    embed = model.time_text_embed.forward
    model.time_text_embed.forward = lambda timestep, guidance, pooled: embed(timestep, pooled, guidance)[0]


def paraattention(model, family, name, ranks):
    """ParaAttention's context parallelism: ulysses or ring, -compiled or not; halves of guidance first, where there are two."""
    import importlib
    import unittest.mock  # noqa: F401  its adapters use it and do not import it

    import torch
    from para_attn import para_attn_interface
    from para_attn.context_parallel import init_context_parallel_mesh
    from torch_step import sharing

    mode = para_attn_interface.UnifiedAttnMode
    if not hasattr(mode, "without_gqa"):  # today's diffusers pass enable_gqa, which it does not know
        mode.without_gqa = mode._call_unified_attn_func
        mode._call_unified_attn_func = lambda self, *args, enable_gqa=False, **kwargs: self.without_gqa(*args, **kwargs)
    model = sharing(model)
    kind = name.removesuffix("-compiled")
    adapter = {"Flux": "flux", "HunyuanVideo": "hunyuan_video", "Mochi": "mochi", "CogVideoX": "cogvideox"}[type(family).__name__]
    if adapter == "hunyuan_video":
        hunyuan_of_today(model)
    mesh = dict(max_ring_dim_size=ranks) if kind == "ring" else {}
    if family.halves == 2:
        mesh["max_batch_dim_size"] = 2
    mesh = init_context_parallel_mesh(model.device.type, **mesh)
    importlib.import_module(f"para_attn.context_parallel.diffusers_adapters.{adapter}").parallelize_transformer(model, mesh=mesh)
    if name != kind:
        torch._inductor.config.reorder_for_compute_comm_overlap = True
        model = torch.compile(model)
    return model


def prepared(o, family, model, name, dtype, ranks):
    from torch_step import Loop

    if o["system"] == "diffusers" and ranks == 1:
        return Loop.of(name, model, family, o["inputs"], o["device"], dtype, o["steps"])
    prepare = native if o["system"] == "diffusers" else paraattention
    return Loop(prepare(model, family, name, ranks), family.inputs(o["inputs"], o["device"], dtype), o["steps"])


def obey(loops, words):
    """What a line asks for, on every rank; what to answer."""
    import torch
    from safetensors.torch import save_file

    if words[0] == "run":
        return f"{loops[words[1]].run()[0]:.5f}"
    prediction = loops[words[1]].prediction().clone()  # of an exchange that may still be under way
    if torch.distributed.get_rank() == 0:
        save_file({"prediction": prediction.cpu()}, words[2])
    return "saved"


def main():
    import torch
    import torch.distributed as dist
    from families import FAMILIES

    o = json.loads(sys.argv[1])
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    cuda = o["device"] == "cuda"
    if cuda:
        torch.cuda.set_device(rank)
    else:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // ranks))
    dist.init_process_group("nccl" if cuda else "gloo", rank=rank, world_size=ranks)
    lines = dist.new_group(backend="gloo", timeout=datetime.timedelta(hours=12))  # waits without work for a GPU
    say = lambda text: print(MARK + text, flush=True) if rank == 0 else None
    family = FAMILIES[o["family"]](o["model"], o["width"], o["height"], o["frames"], o["text_tokens"], o["padded_text"])
    dtype = getattr(torch, o["dtype"])
    model = family.load(o["device"], dtype)
    loops = {}
    for name in o["variants"]:
        start = time.perf_counter()
        loops[name] = prepared(o, family, model, name, dtype, ranks)
        loops[name].run()
        say(f"{name}: first run {time.perf_counter() - start:.0f} s")
    say("ready")
    while True:
        words = [sys.stdin.readline().split() if rank == 0 else None]
        dist.broadcast_object_list(words, 0, group=lines)
        if not words[0]:
            break
        say(obey(loops, words[0]))
    dist.destroy_process_group()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
