"""What rectified flow draws for each training sample."""

import torch


def draw_sigma(n, shift, device, generator):
    """Logit-normal, shifted as the scheduler shifts, one in five uniform."""
    u = torch.sigmoid(torch.randn(n, device=device, generator=generator))
    sigma = shift * u / (1 + (shift - 1) * u)
    uniform = torch.rand(n, device=device, generator=generator)
    return torch.where(torch.rand(n, device=device, generator=generator) < 0.2, uniform, sigma)


def draw_guidance(n, usual, largest, device, generator):
    """The pipeline's default for half, 1 to `largest` for the others: the transformer learns to stand any value."""
    spread = 1 + (largest - 1) * torch.rand(n, device=device, generator=generator)
    return torch.where(torch.rand(n, device=device, generator=generator) < 0.5, torch.full_like(spread, usual), spread)
