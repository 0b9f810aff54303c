"""Makes tokenizer (Llama 3's format) and tokenizer_2 (CLIP's), trained on the captions of motions.py."""

import random
import sys
from pathlib import Path

from transformers import PreTrainedTokenizerFast

import shared  # noqa: F401
from models import CROP, TEMPLATE
from motions import BACKGROUNDS, COLOUR_WORDS, EMOJI_NAMES, MOTION_WORDS, all_combinations, caption

sys.path.insert(1, str(Path(__file__).parents[1] / "reference"))
from clip_bpe import write_clip_folder
from llama_tokenizer import write_llama_folder

MADE = Path(__file__).parent / "cache" / "tokenizers"  # once made, they belong to the weights trained with them
MERGES = 1000  # more than the captions have, so that each of their words becomes one token
CLIP_MERGES = 120


def corpus():
    rng = random.Random(1)
    lines = [caption(c, rng) for c in all_combinations() for _ in range(2)]
    words = [name for names in EMOJI_NAMES for name in names] + [w for said in MOTION_WORDS.values() for w in said]
    return lines + words * 4 + [w for said in COLOUR_WORDS for w in said] * 4 + BACKGROUNDS


def main(target=MADE):
    write_llama_folder(str(Path(target) / "tokenizer"), corpus(), MERGES)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(Path(target) / "tokenizer")
    if len(tokenizer(TEMPLATE)["input_ids"]) - 2 != CROP:
        raise SystemExit("the pipeline's template has another number of tokens than the pipeline cuts off")
    write_clip_folder(str(Path(target) / "tokenizer_2"), corpus(), CLIP_MERGES)


if __name__ == "__main__":
    main(*sys.argv[1:])
