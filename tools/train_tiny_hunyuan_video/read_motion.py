"""Reads from a video's pixels which of the seven motions it shows. Nothing here is learnt.

The background is the median colour of the outermost pixels of all frames. What differs from it by more than THRESHOLD is the emoji. Over
the frames, straight lines are fitted to its centroid's x and y and to the logarithm of its area; how it turns is what turns one frame,
about the centroid and brought to the same area, best into the one TURN_STEP frames later, if any clearly does. Each of these is divided by
what a true video has; the largest is the motion, unless even that is below NOTHING.
"""

import math

import torch
import torch.nn.functional as F

from motions import MOTIONS, SIZES_GROWING, TRAVEL, TURN

BORDER = 3  # pixels
THRESHOLD = 0.2  # distance in RGB, each 0..1
LEAST = 40  # pixels; fewer are no emoji
NOTHING = 0.25
TURN_STEP = 2  # frames
TURN_ANGLES = [a * 7.5 for a in range(-6, 7)]  # degrees
TURN_CLEAR = 0.8  # how much less an angle must leave of the difference than no turn does
TURN_EDGE = 48  # pixels of the picture that is turned


def foreground(video):
    """video [3, f, h, w] in 0..1 -> the background [3], and how far each pixel is from it [f, h, w]."""
    ring = torch.ones(video.shape[2:], dtype=torch.bool, device=video.device)
    ring[BORDER:-BORDER, BORDER:-BORDER] = False
    ground = video[:, :, ring].flatten(1).median(1).values
    return ground, (video - ground[:, None, None, None]).norm(dim=0)


def slope(values, present):
    """What a straight line through the values gains from the first frame to the last."""
    t = torch.linspace(0, 1, len(values), device=values.device)[present]
    v = values[present]
    t = t - t.mean()
    return ((t * (v - v.mean())).sum() / t.square().sum()).item()


def cut(picture, x, y, radius, degrees):
    """picture [1, 3, h, w]: squares about (x, y), one for each of degrees, turned clockwise by it: [angles, 3, e, e]."""
    h, w = picture.shape[2:]
    angle = torch.tensor(degrees, device=picture.device) * (math.pi / 180)
    cos, sin = angle.cos() * radius, angle.sin() * radius
    middle_x, middle_y = torch.full_like(cos, 2 * x / w - 1), torch.full_like(cos, 2 * y / h - 1)
    theta = torch.stack([torch.stack([cos * 2 / w, sin * 2 / w, middle_x], -1), torch.stack([-sin * 2 / h, cos * 2 / h, middle_y], -1)], 1)
    grid = F.affine_grid(theta, (len(degrees), 1, TURN_EDGE, TURN_EDGE), align_corners=False)
    return F.grid_sample(picture.expand(len(degrees), -1, -1, -1), grid, align_corners=False, padding_mode="border")


def turned(video, x, y, area, present):
    """Degrees clockwise over the whole video."""
    steps = []
    for a in range(0, video.shape[1] - TURN_STEP, TURN_STEP):
        b = a + TURN_STEP
        if not (present[a] and present[b]):
            continue
        radius = [1.1 * math.sqrt(area[i].item() / math.pi) for i in (a, b)]
        before = cut(video[:, a][None], x[a].item(), y[a].item(), radius[0], TURN_ANGLES)
        after = cut(video[:, b][None], x[b].item(), y[b].item(), radius[1], [0.0])
        errors = (before - after).square().mean((1, 2, 3)).tolist()
        best = min(range(len(errors)), key=errors.__getitem__)
        clear = errors[best] < TURN_CLEAR * errors[TURN_ANGLES.index(0)]  # of noise, one angle is as bad as the other
        steps.append(TURN_ANGLES[best] if clear else 0.0)
    return sum(steps) / len(steps) * (video.shape[1] - 1) / TURN_STEP if steps else 0.0


def read(video):
    """video [3, f, h, w] in 0..1 -> index into MOTIONS or None, and by how much of a true video's each thing changes."""
    _, distance = foreground(video)
    mask = (distance > THRESHOLD).float()
    area = mask.sum((1, 2))
    present = area >= LEAST
    if present.sum() < 3:
        return None, {}
    ys = torch.arange(video.shape[2], device=video.device) + 0.5
    xs = torch.arange(video.shape[3], device=video.device) + 0.5
    x, y = (mask.sum(1) * xs).sum(1) / area.clamp(min=1), (mask.sum(2) * ys).sum(1) / area.clamp(min=1)
    small, large = SIZES_GROWING
    right, down = slope(x, present) / (2 * TRAVEL), slope(y, present) / (2 * TRAVEL)
    grown = slope(area.clamp(min=1).log(), present) / (2 * math.log(large / small))
    spun = turned(video, x, y, area, present) / TURN
    scores = {"left": -right, "right": right, "up": -down, "down": down, "growing": grown, "shrinking": -grown, "spinning": spun}
    best = max(scores, key=scores.get)
    return (MOTIONS.index(best) if scores[best] >= NOTHING else None), scores
