"""Writes tests/data/cogvideox_scheduler.json: timesteps and steps of CogVideoXDDIMScheduler and CogVideoXDPMScheduler.

A case holds class, config and steps, and what came of a run: SIZE normals of seed 5 are the first sample, the next ones are what
the model gives at each step; a generator of seed 77 is handed to step(). `first` is the first value of the sample after each step,
`last` the whole of the last one, `spread` their relative L2 distance to the run in float64.
"""

import os
import warnings

import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXDPMScheduler

from common import DATA, rel_l2
from rng_cuda import write

SIZE = 20  # at least 16: smaller draws take pairs from torch's generator
REAL = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, num_train_timesteps=1000,
            prediction_type="v_prediction", rescale_betas_zero_snr=True, set_alpha_to_one=True, steps_offset=0, timestep_spacing="trailing")
KINDS = {
    "2b": dict(REAL, snr_shift_scale=3.0),
    "5b": dict(REAL, snr_shift_scale=1.0),
    "leading": dict(REAL, timestep_spacing="leading", steps_offset=1),
    "linspace": dict(REAL, timestep_spacing="linspace", rescale_betas_zero_snr=False),
    "not to one": dict(REAL, set_alpha_to_one=False),
    "noise": dict(REAL, prediction_type="epsilon", rescale_betas_zero_snr=False, timestep_spacing="leading"),
    "sample": dict(REAL, prediction_type="sample", snr_shift_scale=0.7),
    "linear": dict(REAL, beta_schedule="linear", beta_start=0.0001, beta_end=0.02),
    "linear, not rescaled": dict(REAL, beta_schedule="linear", rescale_betas_zero_snr=False, snr_shift_scale=2.0),
    "cosine": dict(REAL, beta_schedule="squaredcos_cap_v2"),
    "trained": dict(REAL, num_train_timesteps=40, trained_betas=[0.001 * (i + 1) for i in range(40)]),
    "train 500": dict(REAL, num_train_timesteps=500),
    "defaults": dict(),
}


def numbers(tensor):
    return [float(f"{v:.9g}") for v in tensor.double().tolist()]


def run(cls, config, steps, dtype=torch.float32):
    s = cls(**config)
    s.set_timesteps(steps)
    rng, noise = torch.Generator().manual_seed(5), torch.Generator().manual_seed(77)
    draw = lambda: torch.randn(SIZE, generator=rng).to(dtype)
    sample, old, first = draw(), None, []
    for i, t in enumerate(s.timesteps):
        output = draw()
        if cls is CogVideoXDPMScheduler:
            real = torch.randn
            if dtype == torch.float64:  # the same noise: drawn in float32
                torch.randn = lambda *a, **k: real(*a, **dict(k, dtype=torch.float32)).double()
            sample, old = s.step(output, old, t, s.timesteps[i - 1] if i > 0 else None, sample, generator=noise, return_dict=False)
            torch.randn = real
        else:
            sample = s.step(output, t, sample, return_dict=False)[0]
        assert sample.dtype == dtype
        first.append(sample[0])
    return s.timesteps, torch.stack(first), sample


def main():
    cases = []
    for cls in (CogVideoXDDIMScheduler, CogVideoXDPMScheduler):
        for kind, config in KINDS.items():
            for steps in (50, 10, 7, 1) if kind in ("2b", "5b") else (50, 7) if kind in ("leading", "linspace") else (10,):
                timesteps, first, last = run(cls, config, steps)
                assert torch.isfinite(last).all(), kind
                exact = run(cls, config, steps, torch.float64)
                spread = max(rel_l2(first, exact[1]), rel_l2(last, exact[2]))
                cases.append({"class": cls.__name__, "kind": kind, "config": config, "steps": steps, "timesteps": timesteps.tolist(),
                              "first": numbers(first), "last": numbers(last), "spread": spread})
                print(f"{cls.__name__} {kind} {steps}: spread {spread:.1e}")
    write(os.path.join(DATA, "cogvideox_scheduler.json"), {"cases": cases})


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
