"""Writes tests/data/scheduler.json: sigmas, timesteps and steps of FlowMatchEulerDiscreteScheduler.

A case holds the scheduler's config, the `arguments` of set_timesteps (`steps`, `mu` or `image_seq_len`, `sigmas`,
`timesteps`, `threshold_noise` of MochiPipeline's), and what came out. `pipeline` says that sigmas were FluxPipeline's linspace(1, 1/steps, steps) and mu its
calculate_shift(image_seq_len). Lists over 64 long carry samples at `index`. The schedule of 1000 training timesteps
before set_timesteps has `arguments` null.
"""

import json
import os

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from diffusers.pipelines.mochi.pipeline_mochi import linear_quadratic_schedule

from common import DATA
from rng_cuda import write

DEV = dict(shift=3.0, use_dynamic_shifting=True, base_shift=0.5, max_shift=1.15, base_image_seq_len=256,
           max_image_seq_len=4096)
LIMIT = 64


def numbers(tensor):
    return [float(f"{v:.9g}") for v in tensor.float().tolist()]


def outcome(scheduler):
    sigmas, timesteps = scheduler.sigmas, scheduler.timesteps
    if len(timesteps) <= LIMIT:
        return {"timesteps": numbers(timesteps), "sigmas": numbers(sigmas)}
    n = len(timesteps)
    index = sorted({0, 1, 2, n // 3, n // 2, n - 3, n - 2, n - 1} | {i * n // 17 for i in range(17)})
    return {"length": n, "index": index, "timesteps": numbers(timesteps[index]), "sigmas": numbers(sigmas[index])}


def by_pipeline(config, steps, image_seq_len):
    s = FlowMatchEulerDiscreteScheduler(**config)
    c = s.config
    mu = calculate_shift(image_seq_len, c.base_image_seq_len, c.max_image_seq_len, c.base_shift, c.max_shift)
    s.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
    return dict(config=config, pipeline=True, arguments=dict(steps=steps, image_seq_len=image_seq_len, mu=mu), **outcome(s))


def by_hand(config, **args):
    s = FlowMatchEulerDiscreteScheduler(**config)
    kw = {"num_inference_steps" if k == "steps" else k: v for k, v in args.items()}
    s.set_timesteps(**kw)
    return dict(config=config, pipeline=False, arguments=args, **outcome(s))


def by_mochi(config, steps, threshold_noise):
    s = FlowMatchEulerDiscreteScheduler(**config)
    s.set_timesteps(sigmas=np.array(linear_quadratic_schedule(steps, threshold_noise)))
    return dict(config=config, pipeline=False, arguments=dict(steps=steps, threshold_noise=threshold_noise), **outcome(s))


def untouched(config):
    s = FlowMatchEulerDiscreteScheduler(**config)
    return dict(config=config, pipeline=False, arguments=None, **outcome(s))


def schedules():
    out = []
    kinds = {
        "static 1": {}, "static 3": dict(shift=3.0), "static small": dict(shift=0.4), "train 500": dict(num_train_timesteps=500),
        "dynamic": DEV, "linear": dict(DEV, time_shift_type="linear"),
        "terminal": dict(DEV, shift_terminal=0.1), "terminal static": dict(shift=2.0, shift_terminal=0.02),
        "inverted": dict(shift=3.0, invert_sigmas=True), "inverted dynamic": dict(DEV, invert_sigmas=True),
        "other base": dict(DEV, base_shift=0.3, max_shift=2.0, base_image_seq_len=64, max_image_seq_len=1000),
    }
    for name in ("karras", "exponential", "beta"):
        kinds[name] = {f"use_{name}_sigmas": True}
        kinds[name + " all"] = dict(DEV, **{f"use_{name}_sigmas": True}, shift_terminal=0.05, time_shift_type="linear")
        kinds[name + " static"] = dict(shift=3.0, invert_sigmas=name == "karras", **{f"use_{name}_sigmas": True})
    for kind, config in kinds.items():
        out.append(dict(kind=kind, **untouched(config)))
        for steps in (1, 2, 4, 20, 50, 1000):
            if steps == 1 and ("terminal" in kind or kind.endswith(" all")):
                continue  # 0/0 in diffusers: one sigma of 1 has no distance to stretch
            out.append(dict(kind=kind, **by_pipeline(config, steps, 1024)))
        dynamic = config.get("use_dynamic_shifting", False)
        for steps in (2, 7, 28):
            out.append(dict(kind=kind, **by_hand(config, steps=steps, **({"mu": 0.8} if dynamic else {}))))
    for image_seq_len in (1, 24, 255, 256, 1024, 4096, 4097, 16384):
        out.append(dict(kind="image_seq_len", **by_pipeline(DEV, 4, image_seq_len)))
        out.append(dict(kind="image_seq_len", **by_pipeline(dict(DEV, time_shift_type="linear"), 4, image_seq_len)))
    for steps in (2, 3, 4, 7, 20, 28, 50, 64, 101):
        for shift in (1.0, 2.5):
            out.append(dict(kind="mochi", **by_mochi(dict(shift=shift, invert_sigmas=True), steps, 0.025)))
    out.append(dict(kind="mochi", **by_mochi({}, 30, 0.1)))
    mine = [1.0, 0.9, 0.55, 0.3, 0.05]
    for config in ({}, dict(shift=3.0), DEV, dict(DEV, use_karras_sigmas=True), dict(shift_terminal=0.2)):
        mu = {"mu": 0.7} if config.get("use_dynamic_shifting") else {}
        out.append(dict(kind="user sigmas", **by_hand(config, sigmas=mine, **mu)))
    out.append(dict(kind="user timesteps", **by_hand({}, timesteps=[1000.0, 800.0, 310.5, 20.0])))
    out.append(dict(kind="user both", **by_hand(dict(shift=2.0), timesteps=[999.0, 500.0], sigmas=[0.9, 0.4])))
    return out


def steps():
    """step() on a tensor of 2 x 5: float32 and bfloat16, and stochastic sampling with its generator."""
    out = []
    for config in (dict(shift=3.0), DEV, dict(shift=3.0, invert_sigmas=True), dict(shift=3.0, stochastic_sampling=True)):
        for dtype in (torch.float32, torch.bfloat16):
            s = FlowMatchEulerDiscreteScheduler(**config)
            s.set_timesteps(sigmas=np.linspace(1.0, 1 / 4, 4), mu=0.9)
            rng = torch.Generator().manual_seed(5)
            sample = torch.randn(2, 5, generator=rng).to(dtype)
            noise = torch.Generator().manual_seed(77)
            run = dict(config=config, steps=4, mu=0.9, dtype=str(dtype)[6:], noise_seed="77", shape=[2, 5],
                       sample=numbers(sample.flatten()), taken=[])
            for t in s.timesteps:
                model_output = torch.randn(2, 5, generator=rng).to(dtype)
                sample = s.step(model_output, t, sample, generator=noise, return_dict=False)[0]
                run["taken"].append(dict(model_output=numbers(model_output.flatten()), sample=numbers(sample.flatten())))
            out.append(run)
    return out


def main():
    os.makedirs(DATA, exist_ok=True)
    write(os.path.join(DATA, "scheduler.json"), {"schedules": schedules(), "steps": steps()})


if __name__ == "__main__":
    main()
