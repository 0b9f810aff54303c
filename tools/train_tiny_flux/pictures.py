"""Composes pictures in bulk on any device: emoji pasted over a plain background by their alpha."""

import torch

import shared  # noqa: F401
from captions import BACKGROUNDS, EDGES, PICTURE, layout
from emoji import NATIVE, premultiplied_at


class Composer:
    def __init__(self, device):
        self.device = device
        self.sheets = torch.from_numpy(premultiplied_at(EDGES)).to(device)  # [edge, emoji, 4, 128, 128]
        self.colours = torch.tensor([rgb for _, rgb, _ in BACKGROUNDS], dtype=torch.float32, device=device) / 255

    @property
    def num_emoji(self):
        return self.sheets.shape[1]

    def paste(self, picture, edge, emoji, x, y, present):
        """picture [n, 3, h, w] in place; edge (index into EDGES), emoji, x, y [n] long; present [n] bool."""
        n, _, height, width = picture.shape
        ys = torch.arange(height, device=self.device)[None] - y[:, None]
        xs = torch.arange(width, device=self.device)[None] - x[:, None]
        inside = ((ys >= 0) & (ys < NATIVE))[:, :, None] & ((xs >= 0) & (xs < NATIVE))[:, None] & present[:, None, None]
        source = self.sheets.view(-1, 4, NATIVE * NATIVE)[edge * self.num_emoji + emoji]  # (n, 4, 128 * 128)
        flat = (ys.clamp(0, NATIVE - 1)[:, :, None] * NATIVE + xs.clamp(0, NATIVE - 1)[:, None]).view(n, 1, -1)
        pasted = source.gather(2, flat.expand(-1, 4, -1)).view(n, 4, height, width) * inside[:, None]
        picture.mul_(1 - pasted[:, 3:]).add_(pasted[:, :3])
        return pasted[:, 3]

    def combinations(self, combinations, window=(0, 0, PICTURE, PICTURE)):
        """float32 [n, 3, h, w] in 0..1, and the emoji's alpha [n, h, w]; window: x, y, w, h of the part that is wanted."""
        left, above, width, height = window
        facts, table = [], []
        for combination in combinations:
            places, edge = layout(combination)
            facts.append([EDGES.index(edge), combination.emoji, combination.background])
            table.append([[x - left, y - above, 1] for x, y in places] + [[0, 0, 0]] * (3 - len(places)))
        n = len(facts)
        table, facts = torch.tensor(table, device=self.device), torch.tensor(facts, device=self.device)
        picture = self.colours[facts[:, 2]][:, :, None, None].repeat(1, 1, height, width)
        alpha = torch.zeros(n, height, width, device=self.device)
        for slot in range(3):
            x, y, present = table[:, slot].unbind(-1)
            if present.any():
                alpha = torch.maximum(alpha, self.paste(picture, facts[:, 0], facts[:, 1], x, y, present.bool()))
        return picture, alpha

    def random(self, n, generator):
        """Pictures [n, 3, 256, 256] for the autoencoder: up to eight emoji anywhere, half of the pictures with all on the grid
        of the captions' layouts, over a named or, one time in five, any colour; and the emoji's alpha."""
        def draw(high):
            return torch.randint(high, (n,), device=self.device, generator=generator)

        any_colour = torch.rand(n, 3, device=self.device, generator=generator)
        ground = torch.where((draw(5) == 0)[:, None], any_colour, self.colours[draw(len(self.colours))])
        picture = ground[:, :, None, None].repeat(1, 1, PICTURE, PICTURE)
        alpha = torch.zeros(n, PICTURE, PICTURE, device=self.device)
        on_grid, crowd = draw(2) == 0, draw(8)
        for slot in range(8):
            x, y = draw(PICTURE + 32) - 64, draw(PICTURE + 32) - 64
            x, y = torch.where(on_grid, x // 16 * 16, x), torch.where(on_grid, y // 16 * 16, y)
            pasted = self.paste(picture, draw(len(EDGES)), draw(self.num_emoji), x, y, crowd >= slot)
            alpha = torch.maximum(alpha, pasted)
        return picture, alpha
