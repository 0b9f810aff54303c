"""What check_weights.py shows for FLUX, of the HunyuanVideo transformers: their weights show errors.

For each config: zeroed attention moves the prediction by 30 % or more, all of it at once and the token refiner's alone by 10 %; each
weight tensor, perturbed by 10 % (each element times 1 + 0.1 N(0, 1)) and, apart, scaled by 1.1, moves a stage beyond its bound. Prints the
smallest ratios.

usage: check_hunyuan_video.py [CONFIG ...]
"""

import json
import os
import re
import sys

import torch
from diffusers.utils import logging as diffusers_logging
from safetensors.torch import load_file

from check_weights import sweep
from common import rel_l2
from hunyuan_video_configs import CONFIGS
from hunyuan_video_run import golden_folder, load, run

# A key's bias adds the same number to all scores of a query, and softmax takes it away again; where keys are normed it does not.
BLIND = r"context_embedder\..*attn\.to_k\.bias$"


def zero_attention(model, name):
    """Zeroes what attention returns in the modules that match, before its output projection. Gives handles."""
    handles = []
    for n, m in model.named_modules():
        if not re.search(name, n):
            continue
        if re.search(r"attn\.(to_out\.0|to_add_out)$", n):
            handles.append(m.register_forward_pre_hook(lambda m, a: (torch.zeros_like(a[0]),)))
        elif re.search(r"single.*\.attn$", n):
            handles.append(m.register_forward_hook(lambda m, a, out: tuple(torch.zeros_like(o) for o in out)))
    return handles


@torch.no_grad()
def main(names):
    torch.set_num_threads(1)
    failed = 0
    for name in names:
        config, folder = CONFIGS[name], golden_folder(name)
        spread = json.load(open(os.path.join(folder, "case.json")))["spread"]
        bound = {k: max(1e-5, 4 * v) for k, v in spread.items()}
        model = load(name)
        base = run(model, config, threads=1)
        stored = load_file(os.path.join(folder, "reference.safetensors"))
        again = max(rel_l2(base[k], v) for k, v in stored.items() if k in base)
        moved = {}
        for what, least in (("transformer_blocks", 0.3), ("context_embedder", 0.1)):
            handles = zero_attention(model, what)
            got = run(model, config, threads=1)
            moved[what] = min(rel_l2(got[k], base[k]) for k in base if k.endswith("head"))
            failed += moved[what] < least
            for h in handles:
                h.remove()
        print(f"{name}: again {again:.1e}; attention zeroed moves", {k: round(v, 2) for k, v in moved.items()})

        stages = lambda: run(model, config, threads=1)
        failed += sweep([(n, p, stages) for n, p in model.named_parameters()], base, bound, BLIND)
    print("failed:", failed)
    return failed


if __name__ == "__main__":
    diffusers_logging.disable_progress_bar()
    sys.exit(1 if main(sys.argv[1:] or list(CONFIGS)) else 0)
