"""The emoji that the small models know: their names, and their pictures from Debian's fonts-noto-color-emoji."""

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).parent
FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
SHEET = HERE / "cache" / "emoji.npz"
BITMAP_SIZE = 109  # the one strike that the font's CBDT table has
NATIVE = 128  # every glyph used here fits a 128 x 128 window of its 136 x 128 bitmap


@lru_cache
def emoji_list():
    """[(character, [(singular, plural), ...])], the first name being the chief one."""
    rows = []
    for line in (HERE / "emoji.tsv").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        code, *names = line.split("\t")
        rows.append((chr(int(code, 16)), [tuple(name.split("|")) for name in names]))
    return rows


def render_sheet(path=SHEET):
    """Draws every emoji at its native size into one compressed file that can travel to another machine."""
    font = ImageFont.truetype(FONT, BITMAP_SIZE)
    sheet = []
    for character, names in emoji_list():
        image = Image.new("RGBA", (136, NATIVE), (0, 0, 0, 0))
        ImageDraw.Draw(image).text((0, 0), character, font=font, embedded_color=True)
        window = image.crop((4, 0, 4 + NATIVE, NATIVE))
        if window.getchannel("A").getextrema()[1] == 0:
            raise SystemExit(f"the font has no picture for {names[0][0]}")
        sheet.append(np.asarray(window))
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, rgba=np.stack(sheet))
    return path


def load_sheet(path=SHEET):
    """uint8 [emoji, 128, 128, 4], straight alpha."""
    if not path.exists():
        render_sheet(path)
    return np.load(path)["rgba"]


def premultiplied_at(sizes):
    """float32 [len(sizes), emoji, 4, 128, 128] with premultiplied colours 0..1; smaller sizes sit in the top left corner."""
    sheet = load_sheet()
    out = np.zeros((len(sizes), len(sheet), 4, NATIVE, NATIVE), np.float32)
    for row, size in enumerate(sizes):
        for index, rgba in enumerate(sheet):
            alpha = rgba[..., 3:].astype(np.float32) / 255
            planes = np.concatenate([rgba[..., :3].astype(np.float32) / 255 * alpha, alpha], -1)
            for channel in range(4):
                plane = Image.fromarray(np.ascontiguousarray(planes[..., channel]))
                if size != NATIVE:
                    plane = plane.resize((size, size), Image.BOX if NATIVE % size == 0 else Image.HAMMING)
                out[row, index, channel, :size, :size] = np.asarray(plane)
    return np.clip(out, 0, 1)


if __name__ == "__main__":
    print(render_sheet(), SHEET.stat().st_size, "bytes,", len(emoji_list()), "emoji")
