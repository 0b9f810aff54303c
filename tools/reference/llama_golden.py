"""Writes tests/golden/llama-*: a LlamaModel with redrawn weights and a tokenizer each, reference.safetensors and case.json.

The truth is HunyuanVideoPipeline._get_llama_prompt_embeds, and the embeddings of its valid tokens alone; "mask" in case.json counts them. The
tokenizer is loaded as PreTrainedTokenizerFast (README.md says why). usage: llama_golden.py [CONFIG ...]
"""

import json
import os
import shutil
import sys

import torch
from diffusers import HunyuanVideoPipeline
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast
from transformers.utils import logging

from captions import LONG, captions
from common import GOLDEN, folder_bytes, rel_l2, write_json, write_safetensors, write_weights
from flux_weights import redraw, stored
from llama_tokenizer import write_llama_folder

# request: prompt, max_sequence_length, layers to skip, the tokenizer's model_max_length where it has one.
CONFIGS = {
    "llama-default": dict(
        about="the pipeline's own template; grouped queries; rope_theta beside rope_scaling null, as transformers 4 writes it",
        seed=31, storage="bf16", bits=4, shards=1, prefix="", merges=120, template=None,
        model=dict(hidden_size=32, intermediate_size=56, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
                   rms_norm_eps=1e-5, max_position_embeddings=8192, rope_theta=500000.0),
        old_config=True,
        requests=[("a red heart", 256), ("", 256), ("Two 1234 stars, naïve 日本 {} {x} don't\n\n <|eot_id|> x 👩🏽‍🚀", 256), (LONG, 256), (LONG, 7),
                  ("a red heart", 256, 0), ("a red heart", 256, 1), ("a red heart", 256, 4)],
    ),
    "llama-scaled": dict(
        about="a template of its own, crop counted; llama3 rope; biases; head_dim unlike hidden_size / heads; gelu; LlamaForCausalLM's names",
        seed=32, storage="f32", bits=6, shards=2, prefix="model.", merges=90,
        template="<|start_header_id|>system<|end_header_id|>\n\nWhat moves? {{so}}<|eot_id|>\n\n{}<|eot_id|>",
        model=dict(hidden_size=36, intermediate_size=40, num_hidden_layers=5, num_attention_heads=6, num_key_value_heads=3,
                   head_dim=10, attention_bias=True, mlp_bias=True, hidden_act="gelu_pytorch_tanh", rms_norm_eps=1e-2,
                   max_position_embeddings=512, tie_word_embeddings=True,
                   rope_parameters=dict(rope_type="llama3", rope_theta=700.0, factor=8.0, low_freq_factor=1.0,
                                        high_freq_factor=4.0, original_max_position_embeddings=128)),
        requests=[("the yellow star spins", 64), (LONG, 300), (LONG, 1), ("the yellow star spins", 64, 2, 30)],
    ),
}


def build(name, config):
    folder = os.path.join(GOLDEN, name)
    shutil.rmtree(folder, ignore_errors=True)
    vocab = write_llama_folder(os.path.join(folder, "tokenizer"), captions(), config["merges"])
    model = LlamaModel(LlamaConfig(vocab_size=len(vocab) + 8, **config["model"])).eval()
    redraw("llama", model, torch.Generator("cpu").manual_seed(config["seed"]))
    path = os.path.join(folder, "text_encoder")
    model.config.save_pretrained(path)
    if config.get("old_config"):
        file = os.path.join(path, "config.json")
        with open(file) as f:
            values = json.load(f)
        values.pop("rope_parameters")
        write_json(file, dict(values, rope_theta=config["model"]["rope_theta"], rope_scaling=None))
    state = {config["prefix"] + k: v for k, v in stored(model, config["storage"], config["bits"]).items()}
    write_weights(path, "model", state, config["shards"])
    return folder


def load(folder, dtype=torch.float32, model_max_length=None):
    limit = {} if model_max_length is None else dict(model_max_length=model_max_length)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(os.path.join(folder, "tokenizer"), **limit)
    model = LlamaModel.from_pretrained(os.path.join(folder, "text_encoder"), dtype=dtype)
    return HunyuanVideoPipeline(model, tokenizer, None, None, None, None, None)


@torch.no_grad()
def embed(pipe, config, prompt, length, skip=2, model_max_length=None):
    """Embeddings of the valid tokens, which are the first of all."""
    template = DEFAULT_PROMPT_TEMPLATE if config["template"] is None else dict(template=config["template"])
    values, mask = pipe._get_llama_prompt_embeds(prompt, template, device="cpu", max_sequence_length=length,
                                                 num_hidden_layers_to_skip=skip)
    valid = int(mask.sum())
    assert mask[0, :valid].all() and values.shape[1] == length and 0 < valid <= length
    return values[0, :valid].float()


def all_requests(folder, config, dtype=torch.float32):
    return [embed(load(folder, dtype, *r[3:4]), config, *r) for r in config["requests"]]


@torch.no_grad()
def weakest_weight(folder, config):
    """The smallest change of any request's embeddings when one tensor is scaled by 1.1; and with zeroed attention."""
    pipe = load(folder)
    everything = config["requests"][:1] + [r for r in config["requests"] if len(r) == 3]
    run = lambda: [embed(pipe, config, *r[:3]) for r in everything]
    base, change = run(), {}
    moved = lambda: max(rel_l2(a, b) for a, b in zip(run(), base))
    for name, p in pipe.text_encoder.named_parameters():
        old = p.clone()
        p.mul_(1.1)
        change[name] = moved()
        p.copy_(old)
    hooks = [l.self_attn.o_proj.register_forward_pre_hook(lambda m, a: (torch.zeros_like(a[0]),)) for l in pipe.text_encoder.layers]
    zeroed = rel_l2(run()[0], base[0])
    [h.remove() for h in hooks]
    used = {k: v for k, v in change.items() if v > 0}
    unused = sorted(set(change) - set(used))
    return min(used, key=used.get), min(used.values()), zeroed, unused


def main(names):
    for name in names:
        config = CONFIGS[name]
        folder = build(name, config)
        base = all_requests(folder, config)
        with sdpa_kernel(SDPBackend.MATH):
            math = all_requests(folder, config)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        single = all_requests(folder, config)
        torch.set_num_threads(threads)
        half = all_requests(folder, config, torch.bfloat16)
        stages = {f"embeds.{i}": v for i, v in enumerate(base)}
        spread = {f"embeds.{i}": max(rel_l2(math[i], v), rel_l2(single[i], v)) for i, v in enumerate(base)}
        requests = []
        for i, (prompt, length, *rest) in enumerate(config["requests"]):
            r = dict(prompt=prompt, max_sequence_length=length, mask=len(base[i]), bf16=rel_l2(half[i], base[i]))
            requests.append(dict(r, **dict(zip(("num_hidden_layers_to_skip", "model_max_length"), rest))))
        write_safetensors(os.path.join(folder, "reference.safetensors"), stages)
        write_json(os.path.join(folder, "case.json"), dict(about=config["about"], template=config["template"], requests=requests, spread=spread))
        weakest, ratio, zeroed, unused = weakest_weight(folder, config)
        assert ratio > 1e-3 and zeroed > 0.3, (weakest, ratio, zeroed)
        print(f"{name}: {folder_bytes(folder) / 1024:.0f} KiB, spread {max(spread.values()):.1e}, weakest {weakest} {ratio:.1e}, without attention "
              f"{zeroed:.2f}, unused {unused}")
        for i, v in enumerate(base):
            print(f"  embeds.{i} {list(v.shape)} rms {v.pow(2).mean().sqrt():.3f} spread {spread[f'embeds.{i}']:.1e} bf16 {requests[i]['bf16']:.1e}")


if __name__ == "__main__":
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    main(sys.argv[1:] or list(CONFIGS))
