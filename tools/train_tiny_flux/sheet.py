"""The contact sheet: 48 prompts, the picture of each, and the prompt beneath it."""

from PIL import Image

import shared  # noqa: F401
from contact_sheet import as_image, save_sheet

COLUMNS, EDGE = 8, 128

PROMPTS = """a red heart on a blue background
two yellow stars, small, top left
a fox on a turquoise background
three penguins on a pink background
a large rocket on a black background
a small bee in the top right corner on a yellow background
two pumpkins on a purple background
a unicorn on a pink background
three strawberries, large
an octopus on an orange background
a tiny blue bird, grey background, bottom left
a huge hamburger on a red background
two cats on a green background
a palm tree at the left on a turquoise background
three red apples in front of a white background
a ghost on a black background
a crown, yellow background, top
a large panda on a green background
two rainbows on a blue background
a cactus on an orange background, bottom right
three small mushrooms at the bottom
a robot on a purple background
a tiger on brown
a snowman on a blue background, large
two ice cubes on a pink background
a small house in the bottom left corner on a green background
three bananas on a purple background
a frog on a yellow background
a guitar on a red background
a birthday cake, large, pink background
two butterflies at the right on a white background
a small key, top, grey background
a pineapple on a turquoise background
three basketballs on a brown background
a flying saucer in the top left corner on black
a peacock on a grey background
two pairs of socks on a yellow background
a big purple umbrella on an orange background
a rose
an eggplant on a green background, right
three parrots, small, centre, blue background
a camera on a violet background
a large doughnut on a turquoise background
two dragons on a black background
a watermelon at the bottom on a pink background
a skull on a red background
three blue diamonds on a white background
a light bulb, huge, black background""".splitlines()


def draw_sheet(generate, path):
    """generate(prompts) -> [n, 3, 256, 256] in 0..1."""
    tiles = [as_image(picture).resize((EDGE, EDGE), Image.LANCZOS) for picture in generate(PROMPTS)]
    save_sheet(path, PROMPTS, tiles, COLUMNS, letters=26)
