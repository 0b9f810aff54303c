"""The contact sheet: 48 prompts, the picture of each, and the prompt beneath it."""

import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

COLUMNS, EDGE, CAPTION, GAP = 8, 128, 34, 8

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
    pictures = generate(PROMPTS)
    font = ImageFont.load_default(size=10)
    rows = -(-len(PROMPTS) // COLUMNS)
    sheet = Image.new("RGB", (GAP + COLUMNS * (EDGE + GAP), GAP + rows * (EDGE + CAPTION + GAP)), (245, 245, 245))
    pen = ImageDraw.Draw(sheet)
    for index, (prompt, picture) in enumerate(zip(PROMPTS, pictures)):
        x = GAP + index % COLUMNS * (EDGE + GAP)
        y = GAP + index // COLUMNS * (EDGE + CAPTION + GAP)
        pixels = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        sheet.paste(Image.fromarray(np.ascontiguousarray(pixels)).resize((EDGE, EDGE), Image.LANCZOS), (x, y))
        pen.multiline_text((x, y + EDGE + 2), "\n".join(textwrap.wrap(prompt, 26)[:3]), (40, 40, 40), font, spacing=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path, path.stat().st_size, "bytes")
