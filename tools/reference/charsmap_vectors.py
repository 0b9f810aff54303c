"""Writes tests/data/tokenizer-t5/charsmap.json: what T5's normalizer makes of every code point and of every key.

`blocks`: for each 4,096 code points from U+0001 (surrogates left out) the FNV-1a 64 of their normalized UTF-8, each
followed by a zero byte. `keys`: the same over all keys of the charsmap in byte order (but the key of NUL).

The truth is the tokenizers library. It cuts text into extended grapheme clusters; a cluster under 6 bytes that starts
with a key becomes the text of its SHORTEST such key, the rest of the cluster included; else each code point is replaced
alone. SentencePiece takes the longest key at each place, so the two differ on long keys (Hangul Jamo) by design.
"""

import os

from charsmap import charsmap_of, keys
from common import DATA, write_json
from tokenizer_vectors import fnv1a64, load, strings


def main():
    folder = os.path.join(DATA, "tokenizer-t5")
    normalize = load(folder).backend_tokenizer.normalizer.normalize_str
    joined = lambda texts: b"".join(normalize(t).encode() + b"\0" for t in texts)
    blocks = []
    for start in range(0, 0x110000, 4096):
        chars = [chr(c) for c in range(max(1, start), start + 4096) if not 0xD800 <= c < 0xE000]
        blocks.append(f"{fnv1a64(joined(chars)):016x}")
    all_keys = [k.decode() for k in keys(charsmap_of(os.path.join(folder, "spiece.model"))) if k != b"\0"]
    changed = sum(normalize(k) != k for k in all_keys)
    write_json(os.path.join(folder, "charsmap.json"), {
        "block": 4096, "blocks": blocks,
        "keys": {"count": len(all_keys), "changed": changed, "fnv1a64": f"{fnv1a64(joined(all_keys)):016x}"},
    }, indent=None)
    print(len(all_keys), "keys,", changed, "changed by the tokenizers library")

    import sentencepiece
    spm = sentencepiece.SentencePieceProcessor(model_file=os.path.join(folder, "spiece.model"))
    tokenizer = load(folder)
    texts = list(strings())
    differ = [i for i, t in enumerate(texts) if spm.encode(t) + [1] != tokenizer(t).input_ids]
    print(f"sentencepiece's own library gives other ids for {len(differ)} of {len(texts)} strings")


if __name__ == "__main__":
    main()
