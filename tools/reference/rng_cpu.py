"""Writes tests/data/rng.json: draws of torch's CPU generator, and how diffusers draws a batch."""

import os

import torch
from diffusers.utils.torch_utils import randn_tensor

from common import DATA
from rng_cuda import DTYPES, cases, describe, write


def batches():
    """randn_tensor for a batch from one generator, and from a list with one generator for each picture."""
    out = []
    for dtype in DTYPES:
        for shape in ((2, 3, 5), (2, 1, 4), (3, 4, 6, 2), (2, 4, 8, 8)):
            one = randn_tensor(shape, generator=torch.Generator().manual_seed(11), dtype=DTYPES[dtype])
            many = [torch.Generator().manual_seed(11 + i) for i in range(shape[0])]
            listed = randn_tensor(shape, generator=many, dtype=DTYPES[dtype])
            out.append({"shape": shape, "dtype": dtype, "seeds": ["11"], **describe(one)})
            out.append({"shape": shape, "dtype": dtype, "seeds": [str(11 + i) for i in range(shape[0])],
                        **describe(listed)})
    return out


def main():
    seeds = [0, 1, 2**32 - 1, 2**32, 2**32 + 1, 2**63 - 1, 2**63, 2**64 - 1, -1, -2**63]
    large = [(1000, 1000), (100000, 17), (10**7, 5), (10**7 + 9,), (65536, 16)]
    os.makedirs(DATA, exist_ok=True)
    write(os.path.join(DATA, "rng.json"), {"torch": torch.__version__, "generator": "cpu",
                                           "cases": cases("cpu", seeds, large), "randn_tensor": batches()})


if __name__ == "__main__":
    main()
