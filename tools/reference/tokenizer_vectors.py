"""Writes the ids that FluxPipeline's tokenizer of a folder gives for tests/data/tokenizer_strings.jsonl.

usage: tokenizer_vectors.py FOLDER [OUT.jsonl [COUNT]]      default FOLDER/ids.jsonl and all strings

A line is {"i": index of the string, "ids": [...]} with the start and end tokens that the pipeline adds, without padding
or cut; over 400 ids {"i", "count", "fnv1a64" (of the ids as little-endian uint32), "head": 20 ids, "tail": 20 ids}.
The truth is the class that FluxPipeline.from_pretrained loads: CLIPTokenizer or T5TokenizerFast of transformers 5, both
on the tokenizers library; ftfy plays no part. Of Llama's folders it is PreTrainedTokenizerFast (README.md says why). A T5 folder with both tokenizer.json and spiece.model is loaded from each
alone, and the two must agree.
"""

import json
import logging
import os
import shutil
import sys
import tempfile

import transformers
from transformers import CLIPTokenizer, PreTrainedTokenizerFast, T5TokenizerFast

from common import DATA

LONG = 400


def fnv1a64(data, h=0xCBF29CE484222325):
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h


def strings():
    with open(os.path.join(DATA, "tokenizer_strings.jsonl"), encoding="utf-8") as f:
        for line in f.read().split("\n")[:-1]:
            s = json.loads(line)
            yield s["text"] * s["repeat"] if isinstance(s, dict) else s


def load(folder, leave_out=()):
    with open(os.path.join(folder, "tokenizer_config.json"), encoding="utf-8") as f:
        name = json.load(f)["tokenizer_class"]
    cls = CLIPTokenizer if "CLIP" in name else T5TokenizerFast if "T5" in name else PreTrainedTokenizerFast
    with tempfile.TemporaryDirectory() as work:
        for name in os.listdir(folder):
            if name not in leave_out and os.path.isfile(os.path.join(folder, name)):
                shutil.copy(os.path.join(folder, name), work)
        return cls.from_pretrained(work)


def encode(tokenizer, texts):
    return [tokenizer(t).input_ids for t in texts]


def entry(i, ids):
    if len(ids) <= LONG:
        return {"i": i, "ids": ids}
    raw = b"".join(v.to_bytes(4, "little") for v in ids)
    return {"i": i, "count": len(ids), "fnv1a64": f"{fnv1a64(raw):016x}", "head": ids[:20], "tail": ids[-20:]}


def main(folder, out=None, count=None):
    transformers.logging.set_verbosity_error()
    texts = list(strings())
    count = int(count or len(texts))
    chosen = sorted({i * len(texts) // count for i in range(count)})
    texts = [texts[i] for i in chosen]
    tokenizer = load(folder)
    ids = encode(tokenizer, texts)
    files = set(os.listdir(folder))
    if {"tokenizer.json", "spiece.model"} <= files:
        other = encode(load(folder, leave_out=("tokenizer.json",)), texts)
        differ = [chosen[i] for i in range(len(ids)) if ids[i] != other[i]]
        assert not differ, f"spiece.model alone gives other ids for strings {differ[:20]}"
    with open(out or os.path.join(folder, "ids.jsonl"), "w") as f:
        f.writelines(json.dumps(entry(i, v), separators=(",", ":")) + "\n" for i, v in zip(chosen, ids))
    unknown = sum(v == tokenizer.unk_token_id for row in ids for v in row[:-1] if len(row) <= LONG)
    total = sum(len(row) - 1 for row in ids if len(row) <= LONG)
    print(f"{folder}: {type(tokenizer).__name__}, {len(tokenizer)} tokens, {len(ids)} strings, {total} ids, "
          f"{100 * unknown / total:.1f} % unknown")


if __name__ == "__main__":
    main(*sys.argv[1:])
