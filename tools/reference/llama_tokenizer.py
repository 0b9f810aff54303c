"""Writes tests/data/tokenizer-llama: a small byte-level BPE with Llama 3's words, as HunyuanVideo's tokenizer folder, and
tests/data/tokenizer_llama_strings.jsonl with its ids: what the strings of the other tokenizers lack.

Some words are in the vocabulary whole without merges that lead there (model.ignore_merges), among them all of
HunyuanVideoPipeline's template, so that it has as many tokens as with Llama 3: its crop_start of 95 fits.
"""

import json
import os
import re
import sys
from collections import Counter

from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from tokenizers import Regex, pre_tokenizers

from captions import captions
from clip_bpe import bytes_to_unicode, train_merges
from common import DATA, folder_bytes, write_json

SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
         r"\s+(?!\S)|\s+")
BEGIN, END, PAD = "<|begin_of_text|>", "<|end_of_text|>", "<pad>"
SPECIAL = [BEGIN, END, "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<unk>", "<image>", PAD]
# Tokens with every flag, on top of those.
FLAGGED = [("<left>", dict(lstrip=True)), ("<right>", dict(rstrip=True)), ("stickers", dict(single_word=True, normalized=True)),
           ("<plain>", dict(normalized=True)), ("<plain>er", dict(normalized=False))]


def words_of(lines):
    """How often each word occurs; a word is a tuple of letters, each a byte."""
    split = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    words = Counter()
    for line in lines:
        words.update(piece for piece, _ in split.pre_tokenize_str(line))
    return {tuple(w): n for w, n in sorted(words.items())}


def template_words():
    parts = [p for p in re.split(r"<\|\w+\|>", DEFAULT_PROMPT_TEMPLATE["template"]) if p]
    return sorted("".join(w) for w in words_of(parts))


def added(content, special, **flags):
    token = dict(single_word=False, lstrip=False, rstrip=False, normalized=False)
    return dict(content=content, **dict(token, **flags), special=special)


def write_llama_folder(folder, lines, merges, whole=(), flagged=()):
    """`merges` merges; the strings `whole` are words of the vocabulary without merges."""
    merges = train_merges(words_of(lines), merges)
    tokens = list(bytes_to_unicode().values()) + ["".join(m) for m in merges] + list(template_words()) + list(whole)
    vocab = {}
    for t in tokens:
        vocab.setdefault(t, len(vocab))
    extra = [added(t, True) for t in SPECIAL] + [added(t, False, **flags) for t, flags in flagged]
    extra = [dict(id=len(vocab) + i, **t) for i, t in enumerate(extra)]
    byte_level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=False)
    begin = {"SpecialToken": {"id": BEGIN, "type_id": 0}}
    text = lambda name, number: {"Sequence": {"id": name, "type_id": number}}
    template = {
        "type": "TemplateProcessing", "single": [begin, text("A", 0)],
        "pair": [begin, text("A", 0), {"SpecialToken": {"id": BEGIN, "type_id": 1}}, text("B", 1)],
        "special_tokens": {BEGIN: {"id": BEGIN, "ids": [extra[0]["id"]], "tokens": [BEGIN]}},
    }
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": extra, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}, byte_level,
        ]},
        "post_processor": {"type": "Sequence", "processors": [byte_level, template]},
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
            "vocab": vocab, "merges": [" ".join(m) for m in merges],
        },
    }
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(tokenizer, f, ensure_ascii=False, separators=(",", ":"))
    write_json(os.path.join(folder, "tokenizer_config.json"), {
        "added_tokens_decoder": {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in extra},
        "bos_token": BEGIN, "clean_up_tokenization_spaces": True, "eos_token": END, "unk_token": "<unk>", "pad_token": PAD,
        "model_max_length": 1000000000000000019884624838656, "padding_side": "right",
        "tokenizer_class": "PreTrainedTokenizerFast",
    })
    return vocab


def strings():
    """Digits, contractions, lines and white space, added tokens."""
    out = ["1", "12", "123", "1234", "1234567890", "a1b22c333d4444", "3.14159", "١٢٣٤٥", "½⅓¾ Ⅷ①②③④", "2024-11-22T18:41:12", "1 22 333 4444",
           "१२३४ ๑๒๓๔", "１２３４", "²³¹⁴", "x²³y", "１2３4", "9" * 200]
    for c in ("s", "t", "re", "ve", "m", "ll", "d"):
        out += [f"it'{c} IT'{c.upper()} '{c}'{c} '{c.title()}x x'{c}9", f"’{c} it’{c}"]
    out += ["'ſ it'ſx", "'S's'T't", "''s", " 's", "'\ns", "don't've'll", "'LlAmA", "'re're'RE'rE"]
    gaps = ["\n", "\r", "\r\n", "\n\n", " \n", "\n ", "  ", "   ", "\t", " \t ", "\n \n  \n", "\x0b", "\x0c", "\x85", "\u00a0", "\u2028", "\u3000 ",
            "\r\n\r\n ", "     \n     "]
    for g in gaps:
        out += [g, f"a{g}b", f"{g}a{g}", f".{g}.", f"1{g}2", f"a.{g}b!{g}{g}", f"<|eot_id|>{g}a"]
    out += [" !!\n\n!\r", "a !?b", " ?a", "-a", "--a", "a-b", "!abc", "\tabc", " \tabc", "\u00a0abc", "\u00a0\u00a0abc", "·abc é", "?é", "👍abc",
            "👍🏽a 1👍", "a\u0301bc", "e\u0301\u0301 x\u0301", "\u0301", " \u0301a", "क्षत्रिय", "नि", "ไทย", "日本語テスト", "한국어", "العربية", "\x01\x02a",
            "\x7f", "a\x1fb", "\ufeffa", "\u200ba\u200b", "\U0001F468\u200d\U0001F469", "ﬁnd ŉ ŀ", "İi", "ǅ", "_a _1 a_b", "$100 100$", "a" * 300]
    names = SPECIAL + [t for t, _ in FLAGGED]
    for t in names:
        out += [t, f"a{t}b", f"a {t} b", f"  {t}  ", f"{t}{t}", f"{t}\n\n{t}", f"x{t[:-1]}", f"{t.upper()}", f"_{t}1", f"é{t}é", f"{t}s"]
    out += ["<plain>er<plain>ers", "<left> <right> <left>", "a <left><right> b", "stickers.stickers stickers_ (stickers)", "<|begin_of_text|>" * 3,
            "<|reserved_special_token_0|>", "<|eot_id", "< |eot_id|>", DEFAULT_PROMPT_TEMPLATE["template"],
            DEFAULT_PROMPT_TEMPLATE["template"].format("A cat walks on the grass, realistic style."), "A cat walks on the grass, realistic"]
    return list(dict.fromkeys(out))


def main():
    from multilingual import corpus
    from tokenizer_vectors import encode, entry, load

    lines = corpus()
    seen = Counter(words_of(captions() + lines))
    folder = os.path.join(DATA, "tokenizer-llama")
    by_count = sorted(seen, key=lambda w: (-seen[w], w))
    whole = ["".join(w) for w in by_count if 9 < len(w) < 16][600:700]
    vocab = write_llama_folder(folder, lines, merges=5000, whole=whole, flagged=FLAGGED)
    tokenizer = load(folder)
    assert len(tokenizer(DEFAULT_PROMPT_TEMPLATE["template"]).input_ids) - 2 == DEFAULT_PROMPT_TEMPLATE["crop_start"]
    texts = strings()
    with open(os.path.join(DATA, "tokenizer_llama_strings.jsonl"), "w", encoding="utf-8") as f:
        f.writelines(json.dumps(t, ensure_ascii=False) + "\n" for t in texts)
    with open(os.path.join(folder, "own_ids.jsonl"), "w") as f:
        f.writelines(json.dumps(entry(i, v), separators=(",", ":")) + "\n" for i, v in enumerate(encode(tokenizer, texts)))
    print(len(vocab), "entries,", folder_bytes(folder), "bytes,", len(texts), "strings of its own")


if __name__ == "__main__":
    sys.exit(main())
