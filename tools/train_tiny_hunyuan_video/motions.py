"""What a video can show, how that is said in English, and which combinations are never trained on."""

import itertools
import random
from dataclasses import dataclass

import shared  # noqa: F401
import backgrounds
from emoji import emoji_list

FRAMES, EDGE = 17, 128
# Of each, a turn of a few degrees shows.
EMOJI = ["red heart", "yellow star", "pumpkin", "fox", "panda", "frog", "chick", "fish", "crab", "red apple", "banana", "strawberry",
         "red car", "rocket", "key", "christmas tree"]
BACKGROUNDS = ["white", "black", "grey", "green", "turquoise", "blue", "purple", "pink"]
MOTIONS = ["left", "right", "up", "down", "growing", "shrinking", "spinning"]
MOTION_WORDS = {
    "left": ["moving left", "moving left", "moving to the left", "going left"],
    "right": ["moving right", "moving right", "moving to the right", "going right"],
    "up": ["moving up", "moving up", "going up", "rising"],
    "down": ["moving down", "moving down", "going down", "falling"],
    "growing": ["growing", "growing", "getting bigger"],
    "shrinking": ["shrinking", "shrinking", "getting smaller"],
    "spinning": ["spinning", "spinning", "rotating", "turning"],
}
HELD_OUT = 100

# Pixels. An emoji's size is that of its 128 x 128 window; most fill nearly all of it.
SIZE_MOVING, SIZE_SPINNING, SIZES_GROWING = 52, 60, (28, 84)
TRAVEL = 28  # from the middle, on either side
JITTER = 6  # how far the whole path may lie from the middle
TURN = 180  # degrees, clockwise

_row = {names[0][0]: row for row, (_, names) in enumerate(emoji_list())}
EMOJI_ROWS = [_row[name] for name in EMOJI]  # of emoji.tsv
EMOJI_NAMES = [[singular for singular, _ in emoji_list()[row][1]] for row in EMOJI_ROWS]
_colour = {name: (rgb, [name] * 3 + others) for name, rgb, others in backgrounds.BACKGROUNDS}
COLOURS = [_colour[name][0] for name in BACKGROUNDS]
COLOUR_WORDS = [_colour[name][1] for name in BACKGROUNDS]


@dataclass(frozen=True)
class Combination:
    emoji: int
    background: int
    motion: int

    def __str__(self):
        return f"{EMOJI[self.emoji]}, {BACKGROUNDS[self.background]}, {MOTIONS[self.motion]}"


def all_combinations():
    return [Combination(e, b, m) for e, b, m in itertools.product(range(len(EMOJI)), range(len(BACKGROUNDS)), range(len(MOTIONS)))]


def held_out(number=HELD_OUT, seed=21):
    """The combinations that training never sees: as many of each motion, to one."""
    rng = random.Random(seed)
    of_motion = [rng.sample([c for c in all_combinations() if c.motion == motion], -(-number // len(MOTIONS))) for motion in range(len(MOTIONS))]
    return [c for same_place in zip(*of_motion) for c in same_place][:number]


def trained_on(limit=None):
    """All others, shuffled."""
    never = set(held_out())
    pool = [c for c in all_combinations() if c not in never]
    random.Random(3).shuffle(pool)
    return pool[:limit]


def path(motion, jitter=(0.0, 0.0), frames=FRAMES):
    """[(x, y, size, degrees)] of each frame: middle of the emoji from the middle of the picture, to the right and down."""
    out = []
    for frame in range(frames):
        t = frame / (frames - 1)
        x, y, size, degrees = 0.0, 0.0, SIZE_MOVING, 0.0
        if MOTIONS[motion] in ("left", "right", "up", "down"):
            along = TRAVEL * (2 * t - 1) * (-1 if MOTIONS[motion] in ("left", "up") else 1)
            x, y = (along, 0.0) if MOTIONS[motion] in ("left", "right") else (0.0, along)
        elif MOTIONS[motion] == "spinning":
            size, degrees = SIZE_SPINNING, TURN * t
        else:
            small, large = SIZES_GROWING
            size = small + (large - small) * (t if MOTIONS[motion] == "growing" else 1 - t)
        out.append((x + jitter[0], y + jitter[1], size, degrees))
    return out


def caption(combination, rng):
    """One way to ask for the video."""
    name, motion = rng.choice(EMOJI_NAMES[combination.emoji]), rng.choice(MOTION_WORDS[MOTIONS[combination.motion]])
    colour = rng.choice(COLOUR_WORDS[combination.background])
    article = rng.choice(["an " if name[0] in "aeiou" else "a "] * 4 + ["the ", ""])
    ground = rng.choice([f" on a {colour} background"] * 4 + [f" in front of a {colour} background", f", {colour} background"])
    text = article + name + " " + motion + ground
    if rng.random() < 0.15:
        text = text[0].upper() + text[1:]
    return text + ("." if rng.random() < 0.1 else "")


def plain_caption(combination):
    """The first way, which examples and sheets use."""
    name = EMOJI_NAMES[combination.emoji][0]
    article = "an" if name[0] in "aeiou" else "a"
    return f"{article} {name} {MOTION_WORDS[MOTIONS[combination.motion]][0]} on a {BACKGROUNDS[combination.background]} background"


if __name__ == "__main__":
    generator = random.Random(0)
    print(len(all_combinations()), "combinations,", len(trained_on()), "trained on")
    for _ in range(20):
        print(caption(generator.choice(all_combinations()), generator))
