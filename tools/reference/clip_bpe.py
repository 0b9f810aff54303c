"""Trains a byte-level BPE and writes it as CLIP's tokenizer folder (vocab.json, merges.txt, configs)."""

import json
import os

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

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


def train_merges(lines, count):
    tok = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    tok.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = list(bytes_to_unicode().values())
    trainer = trainers.BpeTrainer(
        vocab_size=512 + count, end_of_word_suffix="</w>", initial_alphabet=alphabet, show_progress=False
    )
    tok.train_from_iterator(lines, trainer)
    merges = [m if isinstance(m, list) else m.split(" ") for m in json.loads(tok.to_str())["model"]["merges"]]
    return merges[:count]


def write_clip_folder(folder, lines, merges, specials_last=True, max_length=77):
    """Vocabulary as CLIP numbers it: bytes, bytes at a word's end, merges, the two special tokens.
    specials_last=False puts these two before the merges, so that the end token is not the highest id."""
    merges = train_merges(lines, merges)
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
        "added_tokens_decoder": {str(vocab[t]): dict(token(t), special=True) for t in (START, END)},
        "bos_token": START, "clean_up_tokenization_spaces": True, "do_lower_case": True, "eos_token": END,
        "errors": "replace", "model_max_length": max_length, "pad_token": END,
        "tokenizer_class": "CLIPTokenizer", "unk_token": END,
    })
    return vocab
