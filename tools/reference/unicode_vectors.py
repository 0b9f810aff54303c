"""Writes tests/data/unicode.json: what the tokenizers library makes of every code point that it and we must agree on.

For each 4,096 code points (surrogates left out) the FNV-1a 64 of a string for each code point c, each followed by a zero
byte. `lower`: its lower case. `nfc`: normalisation form C of c, of c behind marks of class 1 and 230, of c before a mark
of class 1, and of c between A and U+0301, which shows its class and whether it composes. `classes`: L, N, S where it is a
letter, number, white space of CLIP's expression, W where white space to T5. `clusters`: the character map of
tests/data/tokenizer-t5 on c behind U+00AA and behind U+FB01, which it swallows where c joins their grapheme cluster.
"""

import os

from tokenizers import Regex, normalizers, pre_tokenizers

from charsmap import charsmap_of
from common import DATA, write_json
from tokenizer_vectors import fnv1a64

BLOCK = 4096


def members(expression):
    split = pre_tokenizers.Split(Regex(expression), behavior="removed", invert=True)
    return lambda c: bool(split.pre_tokenize_str(c))


def main():
    lower, nfc = normalizers.Lowercase().normalize_str, normalizers.NFC().normalize_str
    letter, number, space = members(r"\p{L}"), members(r"\p{N}"), members(r"\s")
    words = pre_tokenizers.WhitespaceSplit()
    precompiled = normalizers.Precompiled(charsmap_of(os.path.join(DATA, "tokenizer-t5", "spiece.model"))).normalize_str
    tables = {
        "lower": lower,
        "nfc": lambda c: nfc(c) + nfc("\u0334\u0301" + c) + nfc(c + "\u0334") + nfc("A" + c + "\u0301"),
        "classes": lambda c: "L" * letter(c) + "N" * number(c) + "S" * space(c) + "W" * (not words.pre_tokenize_str(c)),
        "clusters": lambda c: precompiled("\u00aa" + c) + precompiled("\ufb01" + c),
    }
    out = {"block": BLOCK}
    for name, of in tables.items():
        hashes = []
        for start in range(0, 0x110000, BLOCK):
            chars = [chr(c) for c in range(start, start + BLOCK) if not 0xD800 <= c < 0xE000]
            hashes.append(f"{fnv1a64(b''.join(of(c).encode() + bytes(1) for c in chars)):016x}")
        out[name] = hashes
    write_json(os.path.join(DATA, "unicode.json"), out, indent=None)


if __name__ == "__main__":
    main()
