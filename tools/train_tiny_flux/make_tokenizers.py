"""Makes tokenizer (CLIP's format) and tokenizer_2 (T5's format), trained on the grammar of captions.py."""

import io
import json
import random
import re
import sys
from collections import Counter
from pathlib import Path

import sentencepiece
from transformers import T5TokenizerFast

import shared  # noqa: F401
from captions import BACKGROUNDS, PLACES, all_combinations, caption
from emoji import emoji_list

MADE = Path(__file__).parent / "cache" / "tokenizers"  # once made, they belong to the weights trained with them
CLIP_MERGES = 700
CLIP_LENGTH = 77
T5_PIECES = 800
T5_EXTRA_IDS = 100
T5_LENGTH = 512
# Words of ordinary English beside the grammar's own, so that other prompts are not cut into letters.
ENGLISH = """a an the and or of in on at to with from by for over under near beside between behind above below is are was
be it this that these those no not very more many some few one two three four five six seven eight nine ten picture photo
drawing painting icon emoji cartoon sign holding says hello world person man woman child boy girl people animal food fruit
plant flower sky sea sand snow night day light dark bright pale deep old new young happy sad funny cute beautiful fast slow
hot cold wet dry round square flat tall short long left right top bottom front back wooden golden silver glass stone paper
high quality detailed simple style without background colour color shiny smooth clean sitting standing running flying"""


def byte_alphabet():
    """CLIP's printable stand-in for each of the 256 bytes, in CLIP's order."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + index) for index in range(len(rest))]


def corpus(seed=1, size=20000):
    rng = random.Random(seed)
    pool = all_combinations()
    lines = [caption(rng.choice(pool), rng) for _ in range(size)]
    lines += [name for _, names in emoji_list() for pair in names for name in pair] * 8
    lines += [name for name, _, _ in BACKGROUNDS] * 50 + PLACES * 50
    return lines + [word for word in ENGLISH.split() for _ in range(12)]


def train_bpe(words, merges):
    """Byte pair encoding on whole words ending in </w>; ties go to the pair that sorts first, so that runs agree."""
    pieces = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    learnt = []
    while len(learnt) < merges:
        pairs = Counter()
        for word, parts in pieces.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        learnt.append(best)
        for word, parts in pieces.items():
            joined, at = [], 0
            while at < len(parts):
                take = 2 if tuple(parts[at:at + 2]) == best else 1
                joined.append("".join(parts[at:at + take]))
                at += take
            pieces[word] = joined
    return learnt


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def make_clip(folder, lines):
    folder.mkdir(parents=True, exist_ok=True)
    words = Counter(word for line in lines for word in re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]+", line.lower()))
    merges = train_bpe(words, CLIP_MERGES)
    alphabet = byte_alphabet()
    tokens = alphabet + [letter + "</w>" for letter in alphabet] + ["".join(pair) for pair in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    if len(set(tokens)) != len(tokens):
        raise SystemExit("two merges make the same token")
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>",
               "unk_token": "<|endoftext|>"}
    write_json(folder / "special_tokens_map.json", special)
    write_json(folder / "tokenizer_config.json", {
        "add_prefix_space": False, "clean_up_tokenization_spaces": True, "do_lower_case": True, "errors": "replace",
        "model_max_length": CLIP_LENGTH, "tokenizer_class": "CLIPTokenizer", **special})


def make_t5(folder, lines):
    folder.mkdir(parents=True, exist_ok=True)
    printable = " ".join(chr(code) for code in range(33, 127))
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines + [printable] * 20), model_writer=model, model_type="unigram", vocab_size=T5_PIECES,
        normalization_rule_name="nmt_nfkc", character_coverage=1.0, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        pad_piece="<pad>", eos_piece="</s>", unk_piece="<unk>", hard_vocab_limit=False, minloglevel=2, num_threads=1)
    (folder / "spiece.model").write_bytes(model.getvalue())
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "T5Tokenizer", "extra_ids": T5_EXTRA_IDS,
                                                  "model_max_length": T5_LENGTH})
    # transformers converts spiece.model itself; what it then saves is the tokenizer.json that it would load.
    fast = T5TokenizerFast.from_pretrained(folder, extra_ids=T5_EXTRA_IDS)
    fast.save_pretrained(folder)
    special = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>",
               "additional_special_tokens": [f"<extra_id_{index}>" for index in range(T5_EXTRA_IDS)]}
    write_json(folder / "special_tokens_map.json", special)
    write_json(folder / "tokenizer_config.json", {
        "clean_up_tokenization_spaces": True, "extra_ids": T5_EXTRA_IDS, "model_max_length": T5_LENGTH,
        "tokenizer_class": "T5TokenizerFast", **special})


def main(target=MADE):
    lines = corpus()
    make_clip(Path(target) / "tokenizer", lines)
    make_t5(Path(target) / "tokenizer_2", lines)


if __name__ == "__main__":
    main(*sys.argv[1:])
