"""The contact sheet: 24 prompts, five frames of each one's video, and the prompt beneath them."""

from PIL import Image

import shared  # noqa: F401
from contact_sheet import as_image, save_sheet

COLUMNS, EDGE = 3, 64
SHOWN = (0, 4, 8, 12, 16)

PROMPTS = """a red heart moving left on a white background
a yellow star spinning on a blue background
a fox growing on a green background
a panda moving up on a pink background
a rocket rising on a black background
a red car moving right on a turquoise background
a frog shrinking on a purple background
a fish moving left on a grey background
a crab moving to the right, white background
a banana rotating on a turquoise background
a strawberry getting bigger on a black background
a pumpkin falling on a purple background
a chick moving down on a blue background
a key spinning on a pink background
a christmas tree growing on a white background
a red apple moving up on a grey background
a panda spinning on a green background
a yellow star shrinking on a black background
a red heart growing in front of a pink background
the fox going left on a white background
a fish moving right on a green background
a red car getting smaller on a blue background
a frog turning on a teal background
a rocket moving down on a purple background""".splitlines()


def strip(video):
    """video [3, f, h, w] in 0..1 -> its frames side by side"""
    image = Image.new("RGB", (EDGE * len(SHOWN) + 2 * (len(SHOWN) - 1), EDGE), (245, 245, 245))
    for place, frame in enumerate(SHOWN):
        image.paste(as_image(video[:, frame]).resize((EDGE, EDGE), Image.LANCZOS), (place * (EDGE + 2), 0))
    return image


def draw_sheet(generate, path):
    """generate(prompts) -> [n, 3, 17, 128, 128] in 0..1."""
    save_sheet(path, PROMPTS, [strip(video) for video in generate(PROMPTS)], COLUMNS, letters=60, lines=1)
