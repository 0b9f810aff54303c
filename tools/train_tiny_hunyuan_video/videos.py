"""Draws videos in bulk on any device: an emoji that moves, grows or turns over a plain background."""

import math

import torch
import torch.nn.functional as F

import shared  # noqa: F401
from emoji import NATIVE, premultiplied_at
from motions import COLOURS, EDGE, EMOJI_ROWS, FRAMES, JITTER, MOTIONS, SIZES_GROWING, TRAVEL, path

FINER = 2  # drawn at twice the resolution, then averaged, so that edges are soft


class Renderer:
    def __init__(self, device):
        self.device = device
        self.sprites = torch.from_numpy(premultiplied_at((NATIVE,))[0][EMOJI_ROWS]).to(device)  # [emoji, 4, 128, 128]
        self.colours = torch.tensor(COLOURS, dtype=torch.float32, device=device) / 255
        self.paths = torch.tensor([path(m) for m in range(len(MOTIONS))], device=device)  # [motion, frames, 4]

    def render(self, emoji, ground, paths, edge=EDGE):
        """emoji [n] long, ground [n, 3] in 0..1, paths [n, f, 4] as motions.path() has them
        -> videos [n, 3, f, edge, edge] in 0..1, and the emoji's alpha [n, f, edge, edge]."""
        n, f = paths.shape[:2]
        x, y, size, degrees = paths.reshape(n * f, 4).unbind(-1)
        angle, half = degrees * (math.pi / 180), size / 2
        cos, sin = angle.cos(), angle.sin()
        # From the picture's -1..1 to the sprite's, which is turned clockwise: undo the shift, then the turn.
        theta = torch.stack([torch.stack([cos, sin, -(x * cos + y * sin) / (edge / 2)], -1),
                             torch.stack([-sin, cos, (x * sin - y * cos) / (edge / 2)], -1)], 1) * (edge / 2 / half)[:, None, None]
        grid = F.affine_grid(theta, (n * f, 1, edge * FINER, edge * FINER), align_corners=False)
        sprites = self.sprites[emoji.repeat_interleave(f)]
        drawn = F.avg_pool2d(F.grid_sample(sprites, grid, align_corners=False), FINER)  # premultiplied [n * f, 4, edge, edge]
        alpha = drawn[:, 3:]
        picture = ground.repeat_interleave(f, 0)[:, :, None, None] * (1 - alpha) + drawn[:, :3]
        return picture.view(n, f, 3, edge, edge).transpose(1, 2).contiguous(), alpha.view(n, f, edge, edge)

    def combinations(self, combinations, jitter=None):
        """The true videos; jitter [n, 2] in pixels, none if absent."""
        facts = torch.tensor([[c.emoji, c.background, c.motion] for c in combinations], device=self.device)
        paths = self.paths[facts[:, 2]].clone()
        if jitter is not None:
            paths[..., :2] += jitter.to(self.device)[:, None]
        return self.render(facts[:, 0], self.colours[facts[:, 1]], paths)

    def uniform(self, low, high, *shape, generator):
        return low + (high - low) * torch.rand(*shape, device=self.device, generator=generator)

    def jitter(self, n, generator):
        return self.uniform(-JITTER, JITTER, n, 2, generator=generator)

    def random(self, n, generator, edge=EDGE):
        """What the autoencoder learns from: for most videos motions as in the captions, for one in eight from any place, size and
        angle to any other; one in twenty over any colour. A smaller edge shows a part of each, near the emoji."""
        def pick(high):
            return torch.randint(high, (n,), device=self.device, generator=generator)

        def ends(low, high):
            return self.uniform(low, high, n, 2, generator=generator)

        time = torch.linspace(0, 1, FRAMES, device=self.device)
        free = torch.stack([a[:, :1] + (a[:, 1:] - a[:, :1]) * time
                            for a in (ends(-TRAVEL - JITTER, TRAVEL + JITTER), ends(-TRAVEL - JITTER, TRAVEL + JITTER),
                                      ends(*SIZES_GROWING), ends(0, 270))], -1)
        still = (pick(2) == 0)[:, None]  # half of these stay upright
        free[..., 3] = torch.where(still, 0, free[..., 3])
        named = self.paths[pick(len(MOTIONS))].clone()
        named[..., :2] += self.jitter(n, generator)[:, None]
        paths = torch.where((pick(8) > 0)[:, None, None], named, free)
        if edge < EDGE:
            seen = paths[torch.arange(n, device=self.device), pick(FRAMES), :2] + ends(-edge / 2, edge / 2)
            paths[..., :2] -= seen.clamp(-(EDGE - edge) / 2, (EDGE - edge) / 2)[:, None]
        ground = torch.where((pick(20) == 0)[:, None], self.uniform(0, 1, n, 3, generator=generator), self.colours[pick(len(self.colours))])
        return self.render(pick(len(self.sprites)), ground, paths, edge)
