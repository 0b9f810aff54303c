"""Writes tests/data/tokenizer-clip and tests/data/tokenizer-t5: vocabularies over 8,000 trained on many scripts."""

import os

from clip_bpe import write_clip_folder
from common import DATA, folder_bytes
from multilingual import corpus
from t5_unigram import write_t5_folder


def main():
    lines = corpus()
    clip, t5 = os.path.join(DATA, "tokenizer-clip"), os.path.join(DATA, "tokenizer-t5")
    vocab = write_clip_folder(clip, lines, merges=7600, end_normalized=False)
    print("CLIP", len(vocab), "entries,", folder_bytes(clip), "bytes")
    write_t5_folder(t5, lines, vocab_size=7930, character_coverage=0.998)
    print("T5", folder_bytes(t5), "bytes")


if __name__ == "__main__":
    main()
