"""What the transformer is trained on: the latents of every combination that is not held out, and captions for each."""

import os
import random
from itertools import islice

import numpy as np
import torch

from captions import BACKGROUNDS, COUNTS, DEFAULT, all_combinations, caption, held_out
from models import pack

SHORT_TEXT = 48  # no caption takes more
LONG_TEXT = 512  # what FluxPipeline pads to by default
CLIP_TEXT = 40


def weight(combination):
    """How often a combination is drawn; defaults more often, because their parts may stay unsaid."""
    value = {1: 2.4, 2: 1.0, 3: 1.0}[combination.count]
    for field, factor in (("background", 2.0), ("size", 1.4), ("place", 2.5)):
        if getattr(combination, field) == getattr(DEFAULT, field):
            value *= factor
    return value


def shard(worker, limit=None):
    """This worker's share of the combinations."""
    never = {combination.key() for combination in held_out()}
    pool = [combination for combination in all_combinations() if combination.key() not in never]
    random.Random(3).shuffle(pool)
    return list(islice(pool, worker.rank, limit, worker.world))


class Captioned:
    """Latents (m, 256, 64) in float16, normalised as the pipeline does, and tokenised captions (m, k, t)."""

    def __init__(self, worker, vae, composer, tokenizer, tokenizer_2, phrasings, limit=None):
        self.device = worker.device
        self.combinations = shard(worker, limit)
        self.weights = torch.tensor([weight(c) for c in self.combinations], device=self.device)
        self.phrasings = phrasings
        self.latents = self.encode(vae, composer, 64 if self.device.type == "cuda" else 8)
        os.environ["TOKENIZERS_PARALLELISM"] = "true"
        rng = random.Random(100 + worker.rank)
        texts = [caption(c, rng) for c in self.combinations for _ in range(phrasings)]
        self.clip_ids = self.tokens(tokenizer, texts, CLIP_TEXT)
        self.t5_ids = self.tokens(tokenizer_2, texts, SHORT_TEXT)
        self.empty = (self.tokens(tokenizer, [""], CLIP_TEXT)[0], self.tokens(tokenizer_2, [""], SHORT_TEXT)[0])

    def encode(self, vae, composer, batch):
        out = torch.empty(len(self.combinations), 256, 64, dtype=torch.float16, device=self.device)
        with torch.no_grad():
            for at in range(0, len(self.combinations), batch):
                picture, _ = composer.combinations(self.combinations[at:at + batch])
                z = vae.encode(picture * 2 - 1).latent_dist.mode()
                out[at:at + batch] = pack((z - vae.config.shift_factor) * vae.config.scaling_factor)
        if not out.isfinite().all():
            raise SystemExit("the autoencoder's latents are not finite in float16")
        return out

    def tokens(self, tokenizer, texts, length):
        rows = []
        for at in range(0, len(texts), 20000):
            ids = tokenizer(texts[at:at + 20000], padding="max_length", max_length=length, truncation=False)["input_ids"]
            if max(map(len, ids)) > length:
                raise SystemExit(f"a caption takes more than {length} tokens")
            rows.append(np.asarray(ids, np.int16))
        return torch.from_numpy(np.concatenate(rows)).to(self.device)

    def draw(self, n, text_length, generator, empty_share=0.02):
        """Latents (n, 256, 64) float32, clip ids (n, 40), t5 ids (n, text_length)."""
        row = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        text = row * self.phrasings + torch.randint(self.phrasings, (n,), device=self.device, generator=generator)
        clip, t5 = self.clip_ids[text].long(), self.t5_ids[text].long()
        unsaid = torch.rand(n, 1, device=self.device, generator=generator) < empty_share
        clip, t5 = torch.where(unsaid, self.empty[0].long(), clip), torch.where(unsaid, self.empty[1].long(), t5)
        if text_length > SHORT_TEXT:
            t5 = torch.nn.functional.pad(t5, (0, text_length - SHORT_TEXT))  # <pad> is 0
        return self.latents[row].float(), clip, t5


def describe():
    return f"{len(all_combinations())} combinations ({len(BACKGROUNDS)} backgrounds, counts {COUNTS}), {len(held_out())} held out"
