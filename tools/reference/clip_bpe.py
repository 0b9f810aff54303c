"""Trains a byte-level BPE and writes it as CLIP's tokenizer folder (vocab.json, merges.txt, configs)."""

import heapq
import json
import os
from collections import Counter

from tokenizers import Regex, normalizers, pre_tokenizers

from common import write_json

# The split that CLIPTokenizer applies after NFC, white space folding and lower case.
SPLIT = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
START, END = "<|startoftext|>", "<|endoftext|>"


def bytes_to_unicode():
    """The printable stand-in of each byte, in the order that CLIP numbers them."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    order, extra = {b: chr(b) for b in keep}, 0
    for b in range(256):
        if b not in order:
            order[b] = chr(256 + extra)
            extra += 1
    return order


def words_of(lines):
    """How often each word occurs; a word is a tuple of symbols, the last with CLIP's mark of a word's end."""
    normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    split = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    words = Counter()
    for line in lines:
        words.update(piece for piece, _ in split.pre_tokenize_str(normalizer.normalize_str(line)))
    return {(*w[:-1], w[-1] + "</w>"): n for w, n in sorted(words.items())}


def train_merges(counts, count):
    """Byte-pair merges by frequency, ties by the pair's text. (The tokenizers library breaks ties by chance.)
    `counts` has each word, a tuple of symbols, with how often it occurs."""
    words = [[list(w), n] for w, n in counts.items()]
    pairs, places = Counter(), {}
    for i, (w, n) in enumerate(words):
        for p in zip(w, w[1:]):
            pairs[p] += n
            places.setdefault(p, set()).add(i)
    heap = [(-n, p) for p, n in pairs.items()]
    heapq.heapify(heap)
    merges = []
    while heap and len(merges) < count:
        n, pair = heapq.heappop(heap)
        if pairs[pair] != -n or n == 0:
            continue  # an old entry; the pair's own later entry holds its count
        merges.append(pair)
        changed = set()
        for i in places.pop(pair):
            w, times = words[i]
            for p in zip(w, w[1:]):
                pairs[p] -= times
                changed.add(p)
            at = 0
            while at < len(w) - 1:
                if (w[at], w[at + 1]) == pair:
                    w[at:at + 2] = [w[at] + w[at + 1]]
                at += 1
            for p in zip(w, w[1:]):
                pairs[p] += times
                changed.add(p)
                places.setdefault(p, set()).add(i)
        for p in changed:
            if pairs[p] > 0:
                heapq.heappush(heap, (-pairs[p], p))
    return merges


def write_clip_folder(folder, lines, merges, specials_last=True, max_length=77, end_normalized=True):
    """Vocabulary as CLIP numbers it: bytes, bytes at a word's end, merges, the two special tokens.
    specials_last=False puts these two before the merges, so that the end token is not the highest id.
    end_normalized=False has the end token looked for in the text as it came, before lower case."""
    merges = train_merges(words_of(lines), merges)
    tokens = list(bytes_to_unicode().values())
    tokens += [t + "</w>" for t in tokens]
    joined = ["".join(m) for m in merges]
    tokens += joined + [START, END] if specials_last else [START, END] + joined
    vocab = {}
    for t in tokens:
        vocab.setdefault(t, len(vocab))
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "vocab.json"), "w", encoding="utf-8") as f:
        json.dump(vocab, f, ensure_ascii=False, separators=(",", ":"))
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join(" ".join(m) + "\n" for m in merges))
    token = lambda text: {
        "content": text, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False
    }
    write_json(os.path.join(folder, "special_tokens_map.json"), {
        "bos_token": token(START), "eos_token": token(END), "pad_token": END, "unk_token": token(END),
    })
    write_json(os.path.join(folder, "tokenizer_config.json"), {
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(vocab[t]): dict(token(t), special=True, normalized=t == START or end_normalized) for t in (START, END)
        },
        "bos_token": START, "clean_up_tokenization_spaces": True, "do_lower_case": True, "eos_token": END,
        "errors": "replace", "model_max_length": max_length, "pad_token": END,
        "tokenizer_class": "CLIPTokenizer", "unk_token": END,
    })
    return vocab
