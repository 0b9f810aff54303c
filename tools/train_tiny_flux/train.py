"""Trains tiny-flux: `train.py vae`, then `train.py dit` once or more. Run it alone or under torchrun."""

import time

BEGAN = time.time()  # before the imports below, which take seconds

import argparse
import json
from pathlib import Path

import shared  # noqa: F401
import make_tokenizers
import train_dit
import train_vae
from captions import all_combinations
from run_state import Worker


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", choices=["vae", "dit", "probe"],
                        help="probe: a short run from nothing at --lr, whose loss goes into STATE/probe-LR.json")
    parser.add_argument("--state", type=Path, default=Path("/tmp/tiny-flux"), help="folder of what is learnt so far")
    parser.add_argument("--tokenizers", type=Path, default=make_tokenizers.MADE, help="folder with tokenizer and tokenizer_2")
    parser.add_argument("--minutes", type=float, required=True, help="wall clock of this command, set-up included")
    parser.add_argument("--until", type=float, default=1.0, help="dit: share of the schedule done when this command ends")
    parser.add_argument("--lr", default="auto", help="learning rate; auto: 0.001 for vae; for dit the best probe's, else 0.002")
    parser.add_argument("--batch", type=int, default=None, help="per process: 16 pictures for vae, 256 for dit")
    parser.add_argument("--limit", type=int, default=None, help="use only so many combinations (tests)")
    parser.add_argument("--phrasings", type=int, default=5, help="captions kept for each combination")
    parser.add_argument("--no-compile", dest="compiled", action="store_false")
    return parser.parse_args()


def best_probe(state):
    probes = [json.loads(path.read_text()) for path in state.glob("probe-*.json")]
    return min(probes, key=lambda probe: probe["loss"])["lr"] if probes else None


def main():
    options = arguments()
    worker = Worker()
    end = BEGAN + options.minutes * 60
    if options.stage == "vae":
        lr = 0.001 if options.lr == "auto" else float(options.lr)
        statistics_on = all_combinations()[::307 if options.limit is None else 30011]
        train_vae.train(worker, options.state, end, lr, options.batch or 16, options.compiled, statistics_on)
    else:
        lr = best_probe(options.state) if options.lr == "auto" else float(options.lr)
        probe = options.stage == "probe"
        batch = options.batch or 256
        loss = train_dit.train(
            worker, options.tokenizers, options.state, end, options.until, lr, batch, options.compiled,
            options.phrasings, options.limit, f"probe-{lr}" if probe else "dit")
        if probe:
            (options.state / f"probe-{lr}.json").write_text(json.dumps({"lr": lr, "loss": loss}))
            (options.state / f"probe-{lr}.pt").unlink()
            (options.state / f"probe-{lr}-average.pt").unlink()
    worker.close()


if __name__ == "__main__":
    main()
