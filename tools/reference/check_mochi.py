"""What check_weights.py shows for FLUX, of the Mochi transformers: their weights show errors.

For each config: zeroed attention moves the prediction by 30 % or more; each weight tensor, perturbed by 10 % (each element times
1 + 0.1 N(0, 1)) and, apart, scaled by 1.1, moves a stage beyond its bound. Prints the smallest ratios.

usage: check_mochi.py [CONFIG ...]
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
from mochi_configs import CONFIGS
from mochi_run import golden_folder, load, run


def zero_attention(model):
    """Zeroes what attention returns, before its output projection. Gives handles."""
    zero = lambda m, a: (torch.zeros_like(a[0]),)
    return [m.register_forward_pre_hook(zero) for n, m in model.named_modules()
            if re.search(r"attn1\.(to_out\.0|to_add_out)$", n)]


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
        handles = zero_attention(model)
        got = run(model, config, threads=1)
        moved = min(rel_l2(got[k], base[k]) for k in base if k.endswith("head"))
        failed += moved < 0.3
        for h in handles:
            h.remove()
        print(f"{name}: again {again:.1e}; attention zeroed moves {moved:.2f}")

        # The text of the last block is read by nobody, so what asks for it matters to nobody.
        blind = rf"transformer_blocks\.{model.config.num_layers - 1}\.attn1\.(add_q_proj|norm_added_q)\."
        # A norm without a bias before it takes a factor away.
        scale_free = r"net\.2\.weight$|(to|add)_(q|k)(_proj)?\.weight$"
        stages = lambda: run(model, config, threads=1)
        failed += sweep([(n, p, stages) for n, p in model.named_parameters()], base, bound, blind, scale_free)
    print("failed:", failed)
    return failed


if __name__ == "__main__":
    diffusers_logging.disable_progress_bar()
    sys.exit(1 if main(sys.argv[1:] or list(CONFIGS)) else 0)
