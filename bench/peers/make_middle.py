"""Writes the middle config of the CPU comparison with random weights: a FluxPipeline folder of 2.6 GB in float32.

    python3 bench/peers/make_middle.py TOKENIZERS OUT

TOKENIZERS is a pipeline folder whose tokenizers are taken (models/tiny-flux). SPDX-License-Identifier: Apache-2.0
"""
import shutil
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

INDEX = """{
  "_class_name": "FluxPipeline",
  "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
  "text_encoder": ["transformers", "CLIPTextModel"],
  "text_encoder_2": ["transformers", "T5EncoderModel"],
  "tokenizer": ["transformers", "CLIPTokenizer"],
  "tokenizer_2": ["transformers", "T5TokenizerFast"],
  "transformer": ["diffusers", "FluxTransformer2DModel"],
  "vae": ["diffusers", "AutoencoderKL"]
}
"""


def main() -> None:
    tokenizers, out = Path(sys.argv[1]), Path(sys.argv[2])
    torch.manual_seed(1)
    torch.set_grad_enabled(False)
    out.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer", "tokenizer_2", "scheduler"):
        shutil.copytree(tokenizers / name, out / name, dirs_exist_ok=True)
    FluxTransformer2DModel(
        num_layers=4, num_single_layers=8, attention_head_dim=128, num_attention_heads=12,
        joint_attention_dim=256, pooled_projection_dim=256, guidance_embeds=True,
    ).save_pretrained(out / "transformer", max_shard_size="100GB")
    AutoencoderKL(
        block_out_channels=(32, 64, 128, 128), layers_per_block=1, latent_channels=16, norm_num_groups=16, sample_size=512,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        use_quant_conv=False, use_post_quant_conv=False, scaling_factor=0.3611, shift_factor=0.1159,
    ).save_pretrained(out / "vae")
    CLIPTextModel(CLIPTextConfig(
        vocab_size=2048, hidden_size=256, intermediate_size=1024, num_hidden_layers=2, num_attention_heads=4, eos_token_id=1,
    )).save_pretrained(out / "text_encoder")
    T5EncoderModel(T5Config(
        vocab_size=2048, d_model=256, d_kv=64, d_ff=1024, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu",
    )).save_pretrained(out / "text_encoder_2")
    (out / "model_index.json").write_text(INDEX)


main()
