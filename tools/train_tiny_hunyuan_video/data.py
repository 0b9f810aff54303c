"""What the transformer is trained on: the latents of every combination that is not held out, and captions for each."""

import os
import random

import torch

from models import CROP, LATENTS, TEMPLATE
from motions import MOTIONS, all_combinations, caption, held_out, trained_on

CLIP_TEXT = 32  # no caption takes more
SPINNING = MOTIONS.index("spinning")


class Captioned:
    """Latents (m * k, 8, 5, 16, 16) in float16, k places of each combination, and captions by their number of tokens.
    spinning: how often a combination that spins is drawn where another is drawn once: it shows its emoji at all angles, the others at one."""

    def __init__(self, worker, vae, renderer, tokenizer, tokenizer_2, places, phrasings, spinning, limit=None):
        self.device = worker.device
        self.combinations = trained_on(limit)
        self.places = places
        self.latents = self.encode(vae, renderer, 32 if self.device.type == "cuda" else 2)
        os.environ["TOKENIZERS_PARALLELISM"] = "true"
        rng = random.Random(100 + worker.rank)
        texts = [(row, caption(c, rng)) for row, c in enumerate(self.combinations)
                 for _ in range(phrasings * (spinning if c.motion == SPINNING else 1))]
        ids = tokenizer([TEMPLATE.format(text) for _, text in texts])["input_ids"]
        ids_2 = tokenizer_2([text for _, text in texts], padding="max_length", max_length=CLIP_TEXT)["input_ids"]
        if max(map(len, ids_2)) > CLIP_TEXT:
            raise SystemExit(f"a caption takes more than {CLIP_TEXT} tokens")
        # Batches are of captions of one length, so that none needs padding or a mask.
        groups = {}
        for (row, _), one, two in zip(texts, ids, ids_2):
            groups.setdefault(len(one), []).append((row, one, two))
        self.groups = [tuple(torch.tensor(column, device=self.device) for column in zip(*group)) for _, group in sorted(groups.items())]
        self.shares = torch.tensor([float(len(rows)) for rows, _, _ in self.groups])
        self.choice = torch.Generator("cpu").manual_seed(7 + worker.rank)

    def encode(self, vae, renderer, batch):
        out = torch.empty(len(self.combinations) * self.places, *LATENTS, dtype=torch.float16, device=self.device)
        generator = torch.Generator(self.device).manual_seed(11)
        every = [c for c in self.combinations for _ in range(self.places)]
        with torch.no_grad():
            for at in range(0, len(every), batch):
                chunk = every[at:at + batch]
                videos, _ = renderer.combinations(chunk, renderer.jitter(len(chunk), generator))
                out[at:at + batch] = vae.encode(videos * 2 - 1).latent_dist.mode()
        if not out.isfinite().all():
            raise SystemExit("the autoencoder's latents are not finite in float16")
        return out

    def draw(self, n, generator):
        """Latents (n, 8, 5, 16, 16) float32, Llama's ids (n, 95 + s), CLIP's ids (n, 32)."""
        rows, ids, ids_2 = self.groups[torch.multinomial(self.shares, 1, generator=self.choice).item()]
        text = torch.randint(len(rows), (n,), device=self.device, generator=generator)
        place = torch.randint(self.places, (n,), device=self.device, generator=generator)
        return self.latents[rows[text] * self.places + place].float(), ids[text], ids_2[text]

    def describe(self):
        lengths = [ids.shape[1] - CROP for _, ids, _ in self.groups]
        return (f"{len(self.combinations)} of {len(all_combinations())} combinations ({len(held_out())} held out), {self.places} places of "
                f"each, captions of {min(lengths)} to {max(lengths)} tokens, latents' spread {self.latents.float().std().item():.3f}")
