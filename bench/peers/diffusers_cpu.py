"""One picture by diffusers on the CPU, as a process of its own; prints a JSON line with times and peak memory.

    python3 bench/peers/diffusers_cpu.py MODEL THREADS STEPS SEQUENCE DTYPE OUT.png

SPDX-License-Identifier: Apache-2.0
"""
import json
import resource
import sys
import time

import torch
from diffusers import FluxPipeline

model, threads, steps, sequence, dtype, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5], sys.argv[6]
torch.set_num_threads(threads)
torch.set_grad_enabled(False)
pipe = FluxPipeline.from_pretrained(model, torch_dtype={"f32": torch.float32, "bf16": torch.bfloat16}[dtype])
pipe.set_progress_bar_config(disable=True)
size = pipe.vae.config.sample_size
spent = []
forward = pipe.transformer.forward


def timed(*args, **kwargs):
    start = time.perf_counter()
    result = forward(*args, **kwargs)
    spent.append(time.perf_counter() - start)
    return result


pipe.transformer.forward = timed
image = pipe(
    "a red heart on a blue background", height=size, width=size, num_inference_steps=steps, max_sequence_length=sequence,
    generator=torch.Generator("cpu").manual_seed(7),
).images[0]
image.save(out)
print(json.dumps({
    "step": sum(spent) / len(spent),
    "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}))
