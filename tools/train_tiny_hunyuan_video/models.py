"""The networks of tiny-hunyuan-video, as diffusers and transformers have them, and their sizes."""

from functools import lru_cache, partial

import torch
from diffusers import AutoencoderKLHunyuanVideo, HunyuanVideoTransformer3DModel
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from torch import nn
from transformers import LlamaConfig, LlamaModel

import shared  # noqa: F401
from motions import EDGE, FRAMES
from networks import make_clip, start_like_dit

HEADS, HEAD_DIM = 5, 16
CLIP_WIDTH, LLAMA_WIDTH = 48, 64
LATENT_CHANNELS = 8
LATENTS = (LATENT_CHANNELS, (FRAMES - 1) // 4 + 1, EDGE // 8, EDGE // 8)
TAIL = 3  # the latent frames from this one on are decoded a second time, as diffusers decodes in time, and blended in
TEMPLATE, CROP = DEFAULT_PROMPT_TEMPLATE["template"], DEFAULT_PROMPT_TEMPLATE["crop_start"]
SKIPPED = 2  # of Llama's layers the pipeline does not read the last two


def make_vae():
    return AutoencoderKLHunyuanVideo(
        latent_channels=LATENT_CHANNELS, block_out_channels=(16, 16, 24, 24), layers_per_block=1, norm_num_groups=8, scaling_factor=1.0)


def make_transformer():
    model = HunyuanVideoTransformer3DModel(
        in_channels=LATENT_CHANNELS, out_channels=LATENT_CHANNELS, num_attention_heads=HEADS, attention_head_dim=HEAD_DIM, num_layers=1,
        num_single_layers=6, num_refiner_layers=1, mlp_ratio=2.0, text_embed_dim=LLAMA_WIDTH, pooled_projection_dim=CLIP_WIDTH,
        rope_axes_dim=(4, 6, 6))
    start_like_dit(model)
    return model


def make_llama(tokenizer):
    """Its one layer that is read, and two that are not and stay zero."""
    llama = LlamaModel(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=LLAMA_WIDTH, intermediate_size=32, num_hidden_layers=1 + SKIPPED, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-5, initializer_range=0.05,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id))
    for layer in llama.layers[1:]:
        for name, parameter in layer.named_parameters():
            if "norm" not in name:
                nn.init.zeros_(parameter)
    return llama


@lru_cache
def rope_of(transformer, size, device):
    """cos and sin of latents of `size` (frames, height, width)."""
    return transformer.rope(torch.empty(1, 1, *size, device=device))


def unmasked(transformer, latents, timestep, text, pooled, guidance):
    """HunyuanVideoTransformer3DModel's forward for texts without padding: the same numbers, and attention without a mask is faster."""
    n, channels, frames, height, width = latents.shape
    p = transformer.config.patch_size
    rope = rope_of(transformer, latents.shape[2:], latents.device)
    temb, _ = transformer.time_text_embed(timestep, pooled, guidance)
    x, text = transformer.x_embedder(latents), transformer.context_embedder(text, timestep)
    for block in [*transformer.transformer_blocks, *transformer.single_transformer_blocks]:
        x, text = block(x, text, temb, None, rope)
    x = transformer.proj_out(transformer.norm_out(x, temb))
    x = x.view(n, frames, height // p, width // p, channels, p, p)
    return x.permute(0, 4, 1, 2, 5, 3, 6).reshape(n, channels, frames, height, width)


class Unmasked(nn.Module):
    def __init__(self, transformer):
        super().__init__()
        self.transformer = transformer

    def forward(self, *tensors):
        return unmasked(self.transformer, *tensors)


class Denoiser(nn.Module):
    """The transformer and the two text encoders, which are trained together. run: what stands for unmasked(transformer, ...)."""

    def __init__(self, tokenizer, tokenizer_2):
        super().__init__()
        self.transformer = make_transformer()
        self.run = partial(unmasked, self.transformer)
        self.text_encoder = make_llama(tokenizer)
        self.text_encoder_2 = make_clip(tokenizer_2, CLIP_WIDTH, 2 * CLIP_WIDTH, layers=1)

    def forward(self, latents, sigma, guidance, llama_ids, clip_ids):
        """Velocity from noisy latents (n, 8, 5, 16, 16), sigma [n], guidance [n], ids of the whole template without padding
        (n, 95 + s) and CLIP's (n, t)."""
        # The pooled output reads no token after the first <|endoftext|>, so clip_ids may be shorter than 77.
        pooled = self.text_encoder_2(clip_ids).pooler_output
        text = self.text_encoder(llama_ids, output_hidden_states=True, use_cache=False).hidden_states[-1 - SKIPPED][:, CROP:]
        return self.run(latents, sigma * 1000, text, pooled, guidance * 1000)
