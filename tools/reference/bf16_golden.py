"""Writes tests/golden/bf16.json and bf16.safetensors: the error of diffusers in bfloat16 against itself in float32.

Both start from the same latents: drawn in float32 by torch's CPU generator with the seed, rounded to bfloat16, packed.
bf16.json: relative L2 error of the final packed latents and of the float pixels (before clamping) for each config and
seed, and the root mean square over all. bf16.safetensors: `CONFIG.SEED`, the float32 run's final latents, as F16.

diffusers rounds timestep and guidance times 1000 to bfloat16 (3500 becomes 3504) before it takes their sines, and that
rounding outweighs all others here. `exact_time` is the error with these two in float32 and the rest in bfloat16: the
sharper measure for an implementation that does not round them.
"""

import os

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from common import GOLDEN, rel_l2, write_json, write_safetensors
from flux_configs import CONFIGS
from flux_run import golden_folder, load, pipe_arguments

SEEDS = (101, 102, 103, 104)


def initial(pipe, request, seed):
    generator = torch.Generator("cpu").manual_seed(seed)
    latents, _ = pipe.prepare_latents(request["num_images"], pipe.transformer.config.in_channels // 4, request["height"],
                                      request["width"], torch.float32, torch.device("cpu"), generator)
    return latents.to(torch.bfloat16).float()


def exact_time(pipe, request):
    """A hook that hands the time and guidance embeddings their float32 values."""
    def hook(module, args):
        step = pipe.scheduler.step_index or 0
        time = pipe.scheduler.timesteps[step].float().expand(args[0].shape[0])
        guidance = (torch.full_like(time, request["guidance_scale"] * 1000),) if len(args) == 3 else ()
        return (time, *guidance, args[-1])
    return pipe.transformer.time_text_embed.register_forward_pre_hook(hook)


@torch.no_grad()
def generate(pipe, request, latents):
    """Final packed latents and pixels before clamping."""
    kept, decode = {}, pipe.vae.decode

    def vae_decode(z, *a, **kw):
        out = decode(z, *a, **kw)
        kept["images"] = out[0].float() * 0.5 + 0.5
        return out

    def step_end(p, i, t, kw):
        kept["latents"] = kw["latents"].float().clone()
        return kw

    pipe.vae.decode = vae_decode
    pipe(**dict(pipe_arguments(request), latents=latents, generator=None), output_type="pt",
         callback_on_step_end=step_end)
    pipe.vae.decode = decode
    return kept


def main():
    transformers_logging.disable_progress_bar()
    diffusers_logging.disable_progress_bar()
    errors, exact, finals = {}, {}, {}
    for name, config in CONFIGS.items():
        request, tiling = config["request"], config.get("tiling", False)
        full, half = (load(golden_folder(name), d, tiling) for d in (torch.float32, torch.bfloat16))
        for e in (errors, exact):
            e[name] = {"latents": [], "images": []}
        for seed in SEEDS:
            latents = initial(full, request, seed)
            want = generate(full, request, latents)
            finals[f"{name}.{seed}"] = want["latents"].to(torch.float16)
            for e in (errors, exact):
                handle = exact_time(half, request) if e is exact else None
                got = generate(half, request, latents)
                if handle:
                    handle.remove()
                for k in e[name]:
                    e[name][k].append(rel_l2(got[k], want[k]))
        for e in (errors, exact):
            print(name, {k: [f"{x:.4f}" for x in v] for k, v in e[name].items()}, flush=True)
    report = {"torch": torch.__version__, "seeds": SEEDS}
    for key, e in (("rounded_time", errors), ("exact_time", exact)):
        pooled = {k: torch.tensor([c[k] for c in e.values()]).double().pow(2).mean().sqrt().item()
                  for k in ("latents", "images")}
        print("pooled", key, pooled)
        report[key] = {"pooled": pooled, "errors": e}
    write_json(os.path.join(GOLDEN, "bf16.json"), report)
    write_safetensors(os.path.join(GOLDEN, "bf16.safetensors"), finals)


if __name__ == "__main__":
    main()
