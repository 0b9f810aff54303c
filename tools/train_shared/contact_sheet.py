"""A contact sheet: pictures in rows, under each its prompt."""

import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

LINE, GAP = 11, 8


def as_image(picture):
    """picture [3, h, w] in 0..1"""
    pixels = (picture.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    return Image.fromarray(np.ascontiguousarray(pixels))


def save_sheet(path, prompts, tiles, columns, letters, lines=3):
    """tiles: images of one size; letters: of a line of a prompt."""
    width, height = tiles[0].size
    caption = LINE * lines + 1
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (GAP + columns * (width + GAP), GAP + rows * (height + caption + GAP)), (245, 245, 245))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=10)
    for index, (prompt, tile) in enumerate(zip(prompts, tiles)):
        x, y = GAP + index % columns * (width + GAP), GAP + index // columns * (height + caption + GAP)
        sheet.paste(tile, (x, y))
        pen.multiline_text((x, y + height + 2), "\n".join(textwrap.wrap(prompt, letters)[:lines]), (40, 40, 40), font, spacing=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path, path.stat().st_size, "bytes")
