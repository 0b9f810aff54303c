"""Normal draws of a torch generator as vectors. Stand-alone: needs only torch, so that it runs on any GPU machine.

usage: rng_cuda.py OUT.json

Each case is one generator: its draws follow one another from manual_seed(seed). Small draws carry all values, large
ones samples at `index` with the float64 sum and sum of squares of all. Seeds are strings, as they pass 2^63.
"""

import json
import sys

import torch

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SMALL = 64


def sample_index(size):
    """Start, end, and 48 places between that fall on every residue of small powers of two."""
    near = {i for i in range(8)} | {size - 1 - i for i in range(20)}
    return sorted(near | {(i * 2654435761 + 12345 * i * i) % size for i in range(1, 49)})


def describe(values):
    flat = values.flatten().float().cpu()
    out = {"size": flat.numel()}
    if flat.numel() > SMALL:
        index = sample_index(flat.numel())
        out.update(index=index, sum=flat.double().sum().item(), sum_squares=flat.double().pow(2).sum().item())
        flat = flat[index]
    out["values"] = [float(f"{v:.9g}") for v in flat.tolist()]
    return out


def case(device, seed, dtype, sizes):
    generator = torch.Generator(device).manual_seed(seed)
    draws = []
    for size in sizes:
        drawn = describe(torch.randn(size, generator=generator, device=device, dtype=DTYPES[dtype]))
        if device == "cuda":
            drawn["offset_after"] = generator.get_offset()
        draws.append(drawn)
    return {"seed": str(seed), "dtype": dtype, "draws": draws}


def cases(device, seeds, large):
    out = []
    for dtype in DTYPES:
        out += [case(device, 7, dtype, [n]) for n in range(1, 41)]
        out += [case(device, s, dtype, [3, 16, 5, 17, 1]) for s in seeds]
        rows = [(1, 1), (5, 20), (20, 5), (15, 16), (16, 15), (17, 17), (33, 2, 33), (1000, 7), (1, 1000)]
        out += [case(device, 42, dtype, row) for row in rows]
        out += [case(device, 1234567, dtype, row) for row in large]
    return out


def main(path):
    p = torch.cuda.get_device_properties(0)
    seeds = [0, 1, 2**32 - 1, 2**32, 2**32 + 1, 2**63 - 1, 2**64 - 1, -1, -2**63]
    # A thread draws four values at a time and strides by the whole grid: sizes about those edges.
    threads = p.multi_processor_count * (p.max_threads_per_multi_processor // 256) * 256
    large = [(1000, 1000), (100000, 17), (10**7, 5), (threads - 1, 3), (threads, 3), (threads + 1, 3), (4 * threads, 1),
             (4 * threads + 1, 9), (262144, 262144)]
    out = {"torch": torch.__version__, "cuda": torch.version.cuda, "generator": "cuda", "device": p.name,
           "multi_processor_count": p.multi_processor_count,
           "max_threads_per_multi_processor": p.max_threads_per_multi_processor,
           "cases": cases("cuda", seeds, large)}
    write(path, out)


def write(path, out):
    """One case a line."""
    head = {k: v for k, v in out.items() if not isinstance(v, list)}
    with open(path, "w") as f:
        f.write("{\n" + "".join(f"{json.dumps(k)}: {json.dumps(v)},\n" for k, v in head.items()))
        lists = [(k, v) for k, v in out.items() if isinstance(v, list)]
        f.write(",\n".join(f"{json.dumps(k)}: [\n" + ",\n".join(json.dumps(x, separators=(",", ":")) for x in v) + "\n]"
                           for k, v in lists) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1])
