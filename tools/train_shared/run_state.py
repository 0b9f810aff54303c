"""Where a run keeps what it has learnt, so that a later command, on this machine or another, goes on from there.

run_state.py split TARGET FILE ...   copies files into TARGET in parts that are small enough to travel
run_state.py join SOURCE TARGET      undoes it
"""

import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

PART_BYTES = 15 << 20


class Worker:
    """This process among those that torchrun started (or alone)."""

    def __init__(self):
        self.world = int(os.environ.get("WORLD_SIZE", 1))
        self.rank = int(os.environ.get("RANK", 0))
        if torch.cuda.is_available():
            self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
            torch.cuda.set_device(self.device)
            torch.backends.cuda.matmul.allow_tf32 = True
            torch.backends.cudnn.allow_tf32 = True
            torch.backends.cudnn.benchmark = True
            # cuDNN's attention backward failed at these small heads (torch 2.11, H200): illegal memory access.
            torch.backends.cuda.enable_cudnn_sdp(False)
            torch.backends.cuda.enable_mem_efficient_sdp(False)
        else:
            self.device = torch.device("cpu")
        if self.world > 1:
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")

    @property
    def chief(self):
        return self.rank == 0

    def say(self, *words):
        if self.chief:
            print(time.strftime("%H:%M:%S"), *words, flush=True)

    def autocast(self, cache=True):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda", cache_enabled=cache)

    def agree(self, value):
        """The chief's value of a number, on every worker, so that all stop at the same step."""
        if self.world == 1:
            return value
        box = torch.tensor([float(value)], dtype=torch.float64, device=self.device)
        dist.broadcast(box, 0)
        return box.item()

    def close(self):
        if self.world > 1:
            dist.barrier()
            dist.destroy_process_group()


def save(state, path):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def load(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def split(paths, target):
    """Copies files into target in parts of at most 15 MiB."""
    target = Path(target)
    target.mkdir(parents=True, exist_ok=True)
    for path in map(Path, paths):
        data = path.read_bytes()
        for number, at in enumerate(range(0, len(data), PART_BYTES)):
            (target / f"{path.name}.part{number}").write_bytes(data[at:at + PART_BYTES])


def join(source, target):
    """Undoes split() for every file whose parts lie in source."""
    target = Path(target)
    target.mkdir(parents=True, exist_ok=True)
    for first in sorted(Path(source).glob("*.part0")):
        whole = target / first.name.removesuffix(".part0")
        parts = sorted(Path(source).glob(whole.name + ".part*"), key=lambda p: int(p.name.rpartition("part")[2]))
        whole.write_bytes(b"".join(part.read_bytes() for part in parts))


if __name__ == "__main__":
    if len(sys.argv) > 3 and sys.argv[1] == "split":
        split(sys.argv[3:], sys.argv[2])
    elif len(sys.argv) == 4 and sys.argv[1] == "join":
        join(sys.argv[2], sys.argv[3])
    else:
        sys.exit(__doc__)
