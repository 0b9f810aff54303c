"""What a picture can show, how that is said in English, and which combinations are never trained on."""

import itertools
import random
from dataclasses import dataclass, replace

import shared  # noqa: F401
from backgrounds import BACKGROUNDS
from emoji import emoji_list

PICTURE = 256
MARGIN = 16  # free of emoji on every side, so that the background's colour can be read there

SIZES = ["small", "medium", "large"]
PLACES = ["top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right"]
COUNTS = [1, 2, 3]
EDGE = {1: (64, 96, 128), 2: (48, 64, 96), 3: (48, 64, 96)}  # pixels of one emoji, by count and size
EDGES = (48, 64, 96, 128)

SIZE_WORDS = {"small": ["small", "small", "little", "tiny"], "medium": ["medium", "medium sized"],
              "large": ["large", "large", "big", "huge"]}
PLACE_WORDS = {"centre": ["centre", "center", "middle"]}
for _vertical, _horizontal in itertools.product(["top", "bottom"], ["left", "right"]):
    _other = {"top": "upper", "bottom": "lower"}[_vertical]
    PLACE_WORDS[f"{_vertical} {_horizontal}"] = [f"{_vertical} {_horizontal}"] * 2 + [f"{_other} {_horizontal}"]
COUNT_WORDS = {2: ["two", "two", "2"], 3: ["three", "three", "3"]}


@dataclass(frozen=True)
class Combination:
    emoji: int  # row of emoji.tsv
    background: int
    size: int
    place: int
    count: int = 1

    def key(self):
        return (self.emoji, self.background, self.size, self.place)


DEFAULT = Combination(0, 0, 1, 4, 1)


def layout(combination):
    """[(x, y)] of each emoji's box, and the edge of the box, in pixels: one; two side by side; three in a triangle."""
    edge = EDGE[combination.count][combination.size]
    width, height = edge * min(combination.count, 2), edge * (1 + (combination.count == 3))
    row, column = divmod(combination.place, 3)
    x = (MARGIN, (PICTURE - width) // 2, PICTURE - MARGIN - width)[column]
    y = (MARGIN, (PICTURE - height) // 2, PICTURE - MARGIN - height)[row]
    if combination.count == 1:
        return [(x, y)], edge
    if combination.count == 2:
        return [(x, y), (x + edge, y)], edge
    return [(x + edge // 2, y), (x, y + edge), (x + edge, y + edge)], edge


def all_combinations():
    return [Combination(e, b, s, p, c) for e, b, s, p, c in itertools.product(
        range(len(emoji_list())), range(len(BACKGROUNDS)), range(len(SIZES)), range(len(PLACES)), COUNTS)]


def held_out(number=200, seed=20):
    """The combinations of emoji, background, size and place that training never sees, whatever the count."""
    keys = list(itertools.product(range(len(emoji_list())), range(len(BACKGROUNDS)), range(len(SIZES)), range(len(PLACES))))
    return [Combination(*key) for key in random.Random(seed).sample(keys, number)]


def noun(combination, rng, size_word):
    singular, plural = rng.choice(emoji_list()[combination.emoji][1])
    adjective = f"{size_word} " if size_word else ""
    if combination.count > 1:
        return f"{rng.choice(COUNT_WORDS[combination.count])} {adjective}{plural}"
    phrase = adjective + singular
    if singular == plural or rng.random() < 0.25:
        return phrase
    article = "an" if phrase[0] in "aeiou" and not phrase.startswith(("unicorn", "ufo")) else "a"
    return f"{rng.choice([article] * 4 + ['one', 'the'])} {phrase}"


def caption(combination, rng):
    """One way to ask for the picture. Whatever has its default value may stay unsaid."""
    def said(field, chance):
        return getattr(combination, field) != getattr(DEFAULT, field) or rng.random() < chance

    background_name, _, others = BACKGROUNDS[combination.background]
    background = rng.choice([background_name] * 3 + others) if said("background", 0.5) else None
    size_name = SIZES[combination.size]
    size = rng.choice(SIZE_WORDS[size_name]) if said("size", 0.25) else None
    place_name = PLACES[combination.place]
    place = rng.choice(PLACE_WORDS.get(place_name, [place_name])) if said("place", 0.3) else None

    listed = rng.random() < 0.4  # "two yellow stars, small, top left" rather than one clause
    size_before = size is not None and (not listed or rng.random() < 0.4)
    parts = [noun(combination, rng, size if size_before else None)]
    if background is not None:
        if rng.random() < (0.3 if listed else 0.05):
            parts.append(f", {background} background")
        else:
            ground = rng.choice([f"a {background} background"] * 4 + [background])
            if ground.startswith("a orange"):
                ground = "an" + ground[1:]
            parts.append(f" {rng.choice(['on'] * 4 + ['against', 'in front of' if 'background' in ground else 'on'])} {ground}")
    tail = []
    if size is not None and not size_before:
        tail.append(f", {size}")
    if place is not None:
        if listed:
            tail.append(f", {place}")
        else:
            corner = " corner" if " " in place and rng.random() < 0.3 else ""
            prepositions = {"left": ["on", "at"], "right": ["on", "at"], "top": ["at"], "bottom": ["at"]}
            where = f" {rng.choice(prepositions.get(place, ['in', 'at']))} the {place}{corner}"
            if rng.random() < 0.3:
                parts.insert(1, where)
            else:
                tail.append(where)
    if len(tail) == 2 and rng.random() < 0.3:
        tail.reverse()
    text = "".join(parts + tail)
    if rng.random() < 0.15:
        text = text[0].upper() + text[1:]
    return text + ("." if rng.random() < 0.1 else "")


def with_count(combination, count):
    return replace(combination, count=count)


if __name__ == "__main__":
    generator = random.Random(0)
    pool = all_combinations()
    print(len(pool), "combinations")
    for _ in range(30):
        print(caption(generator.choice(pool), generator))
