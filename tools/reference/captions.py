"""A small corpus of captions, enough to train the tiny tokenizers of the golden configs."""

import itertools

THINGS = ("heart star cat dog house tree flower moon sun cloud fish bird car train boat ring shoe hat apple lemon cherry "
          "rocket robot ghost crown key bell book lamp mountain river lantern fox owl whale").split()
COLOURS = "red blue green yellow orange purple pink brown black white grey golden silver".split()
PLACES = "top left|top right|bottom left|bottom right|in the middle|on the left|on the right".split("|")
SIZES = "small large tiny huge".split()
COUNTS = "one two three four five".split()
MOODS = "photograph painting watercolour sketch drawing poster mosaic".split()


def captions():
    lines = [f"a {t} on a {c} background" for t, c in itertools.product(THINGS, COLOURS)]
    lines += [f"{n} {c} {t}s, {s}, {p}" for n, c, t, s, p in zip(
        itertools.cycle(COUNTS), itertools.cycle(COLOURS), THINGS * 12, itertools.cycle(SIZES), itertools.cycle(PLACES))]
    lines += [f"A {m} of the {s} {t}, {p}; it's very {c} & bright!" for m, s, t, p, c in zip(
        itertools.cycle(MOODS), itertools.cycle(SIZES), THINGS * 6, itertools.cycle(PLACES), itertools.cycle(COLOURS))]
    return lines + ["Über 100 cafés: naïve façade, “quoted” text – 50 % off", "0123456789 1024x1024 v1.0 (test)"] * 3


LONG = ("A wide watercolour painting of an old harbour at dusk: three small boats, two of them red and one of them blue, "
        "lie on the left of a long wooden pier; lanterns hang from poles, each with a golden ring of light; a black cat "
        "sits on a crate beside a large fish, and looks at the moon. In the middle there is a tall white house with a "
        "green door, seven windows, a brown roof and a bell; behind it a grey mountain, clouds in pink and orange, and "
        "one owl. On the right, under a huge tree, a robot with a silver crown reads a book to a fox, a dog and a tiny "
        "ghost; its lamp throws long shadows on the river. The style is loose, wet on wet, the paper is rough & warm, "
        "it's 1924, and nobody hurries.")
