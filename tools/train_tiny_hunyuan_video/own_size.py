"""Writes into a folder's vae/config.json what size the model draws: `own_size.py FOLDER`.

HunyuanVideoPipeline's own is the large model's, 720 x 1280 and 129 frames, which takes this one hours. para reads these where a request
names none; diffusers skips names with an underscore, so it has to be told.
"""

import json
import sys
from pathlib import Path

import shared  # noqa: F401
from motions import EDGE, FRAMES


def write_own_size(folder):
    path = Path(folder) / "vae" / "config.json"
    config = json.loads(path.read_text())
    config.update(_sample_height=EDGE, _sample_width=EDGE, _sample_frames=FRAMES)
    path.write_text(json.dumps(config, indent=2) + "\n")


if __name__ == "__main__":
    write_own_size(sys.argv[1])
