"""Trains a unigram model and writes it as T5's tokenizer folder (spiece.model, tokenizer.json, configs)."""

import contextlib
import os
import shutil
import tempfile

import sentencepiece
from transformers import T5TokenizerFast

from common import write_json


def write_t5_folder(folder, lines, vocab_size, files=("spiece.model", "tokenizer.json"), extra_ids=100,
                    max_length=512, **options):
    os.makedirs(folder, exist_ok=True)
    settings = dict(
        model_type="unigram", vocab_size=vocab_size, hard_vocab_limit=False, num_threads=1,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, normalization_rule_name="nmt_nfkc", minloglevel=2,
    )
    settings.update(options)
    model = os.path.join(os.path.abspath(folder), "spiece.model")
    with tempfile.TemporaryDirectory() as work, contextlib.chdir(work):  # the model records these two paths
        with open("corpus.txt", "w", encoding="utf-8") as f:
            f.writelines(line.replace("\n", " ") + "\n" for line in lines)
        sentencepiece.SentencePieceTrainer.train(input="corpus.txt", model_prefix="m", **settings)
        shutil.copy("m.model", model)
    extra = [f"<extra_id_{i}>" for i in range(extra_ids)]
    special = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    pieces = sentencepiece.SentencePieceProcessor(model_file=model).get_piece_size()
    flags = lambda text, strip: dict(content=text, lstrip=strip, normalized=False, rstrip=strip, single_word=False,
                                     special=True)
    decoder = {"0": flags("<pad>", False), "1": flags("</s>", False), "2": flags("<unk>", False)}
    # As in the checkpoints on the hub: the sentinels are numbered backwards and eat the white space about them.
    decoder.update({str(pieces + extra_ids - 1 - i): flags(extra[i], True) for i in reversed(range(extra_ids))})
    config = dict(special, added_tokens_decoder=decoder, extra_ids=extra_ids, additional_special_tokens=extra, legacy=True, sp_model_kwargs={},
                  clean_up_tokenization_spaces=True, model_max_length=max_length, tokenizer_class="T5Tokenizer")
    if "tokenizer.json" in files:
        write_json(os.path.join(folder, "tokenizer_config.json"), config)
        T5TokenizerFast.from_pretrained(folder)._tokenizer.save(os.path.join(folder, "tokenizer.json"), pretty=False)
    write_json(os.path.join(folder, "tokenizer_config.json"), config, indent=None)
    write_json(os.path.join(folder, "special_tokens_map.json"), dict(special, additional_special_tokens=extra), indent=None)
    if "spiece.model" not in files:
        os.remove(model)
