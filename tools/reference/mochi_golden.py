"""Writes tests/golden/mochi-*: transformers with redrawn weights, reference.safetensors and case.json.

usage: mochi_golden.py [CONFIG ...]
"""

import os
import shutil
import sys

import torch
from diffusers import MochiTransformer3DModel
from diffusers.utils import logging as diffusers_logging

from common import folder_bytes, rel_l2, write_json, write_safetensors, write_weights
from flux_weights import redraw, stored
from mochi_configs import CONFIGS
from mochi_run import golden_folder, inputs, load, run


def build(name, config):
    folder = os.path.join(golden_folder(name), "transformer")
    shutil.rmtree(folder, ignore_errors=True)
    model = MochiTransformer3DModel(**config["transformer"]).eval()
    redraw("transformer", model, torch.Generator("cpu").manual_seed(config["seed"]))
    model.save_config(folder)
    write_weights(folder, "diffusion_pytorch_model", stored(model, config["storage"], max(config["bits"], 4)),
                  config["shards"])


def is_kept(stage):
    """All of the first run, of the others the prediction; the sample is what unpatchify makes of it."""
    number, name = stage.split(".", 1)
    return number == "0" or name == "head"


def main(names):
    for name in names:
        config = CONFIGS[name]
        build(name, config)
        model = load(name)
        base = run(model, config)
        for k, v in base.items():
            assert torch.isfinite(v).all(), k
        variants = [run(model, config, math=True), run(model, config, threads=1)]
        spread = {k: max(rel_l2(v[k], base[k]) for v in variants) for k in base}
        cut = run(model, config, cut=True)  # what dropping the padded text changes
        dropped = {k: rel_l2(cut[k], base[k]) for k in base}
        half_model = load(name, torch.bfloat16)
        half_model.pos_frequencies.data = model.pos_frequencies.data  # in float32, as the timestep: rounded, they would outweigh all other rounding
        half = run(half_model, config)
        kept = {k: v for k, v in base.items() if is_kept(k)}
        write_safetensors(os.path.join(golden_folder(name), "reference.safetensors"), dict(inputs(config), **kept))
        frames, height, width = config["latents"]
        case = dict(about=config["about"], frames=frames, height=height, width=width,
                    timesteps=list(config["timesteps"]),
                    lengths=[r[0] for r in config["runs"]], steps=[r[1] for r in config["runs"]],
                    bf16=[rel_l2(half[f"{i}.head"], base[f"{i}.head"]) for i in range(len(config["runs"]))],
                    spread={k: spread[k] for k in sorted(kept)})
        write_json(os.path.join(golden_folder(name), "case.json"), case)
        worst, lost = max(spread, key=spread.get), max(dropped, key=dropped.get)
        print(f"{name}: {folder_bytes(golden_folder(name)) / 1024:.0f} KiB, worst spread {spread[worst]:.2e} ({worst}), "
              f"text cut instead of masked {dropped[lost]:.2e} ({lost}), bf16 {[f'{x:.4f}' for x in case['bf16']]}")
        for k in sorted(kept):
            print(f"  {k:34s} {str(list(kept[k].shape)):18s} rms {kept[k].pow(2).mean().sqrt():8.3f} "
                  f"spread {spread[k]:.1e} cut {dropped[k]:.1e}")


if __name__ == "__main__":
    diffusers_logging.disable_progress_bar()
    main(sys.argv[1:] or list(CONFIGS))
