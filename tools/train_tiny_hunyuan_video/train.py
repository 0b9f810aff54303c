"""Trains tiny-hunyuan-video: `train.py vae`, then `train.py dit` once or more. Run it alone or under torchrun."""

import time

BEGAN = time.time()  # before the imports below, which take seconds

import argparse
from pathlib import Path

import shared  # noqa: F401
import make_tokenizers
import train_dit
import train_vae
from run_state import Worker


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=["vae", "dit"])
    parser.add_argument("--state", type=Path, default=Path("/tmp/tiny-hunyuan-video"), help="folder of what is learnt so far")
    parser.add_argument("--tokenizers", type=Path, default=make_tokenizers.MADE, help="folder with tokenizer and tokenizer_2")
    parser.add_argument("--minutes", type=float, required=True, help="wall clock of this command, set-up included")
    parser.add_argument("--until", type=float, default=1.0, help="dit: share of the schedule done when this command ends")
    parser.add_argument("--lr", type=float, help="learning rate; default 0.001 for vae, for dit that of the run that goes on, else 0.002")
    parser.add_argument("--batch", type=int, help="per process: 8 whole videos for vae, 512 for dit")
    parser.add_argument("--part", type=int, default=64, help="vae: edge in pixels of the parts of videos that are seen first")
    parser.add_argument("--part-batch", type=int, default=32, help="vae: how many of these at once")
    parser.add_argument("--whole-from", type=float, default=0.5, help="vae: share of the schedule from which on videos are seen whole")
    parser.add_argument("--measured", type=int, default=64, help="vae: combinations that the latents and the PSNR are measured on")
    parser.add_argument("--limit", type=int, help="dit: use only so many combinations (tests)")
    parser.add_argument("--places", type=int, default=8, help="dit: how many places of each combination are kept")
    parser.add_argument("--phrasings", type=int, default=12, help="dit: captions kept for each combination")
    parser.add_argument("--spinning", type=int, default=4, help="dit: how often a spinning video is drawn where another is drawn once")
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--compile", action="store_true", help="torch.compile; costs a minute or two at the start")
    ways.add_argument("--op-by-op", action="store_true", help="no CUDA graphs, which are the default on GPUs")
    options = parser.parse_args()
    worker = Worker()
    graphs = worker.device.type == "cuda" and not (options.compile or options.op_by_op)
    end = BEGAN + options.minutes * 60
    if options.stage == "vae":
        train_vae.train(worker, options.state, end, options.lr or 0.001, options.batch or 8, options.part_batch, options.part,
                        options.whole_from, options.compile, graphs, options.measured)
    else:
        train_dit.train(worker, options.tokenizers, options.state, end, options.until, options.lr, options.batch or 512,
                        options.compile, graphs, options.places, options.phrasings, options.spinning, options.limit)
    worker.close()


if __name__ == "__main__":
    main()
