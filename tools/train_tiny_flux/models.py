"""The networks of tiny-flux, as diffusers and transformers have them, and their sizes."""

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from torch import nn
from transformers import T5Config, T5EncoderModel

import shared  # noqa: F401
from networks import make_clip, start_like_dit

HEADS, HEAD_DIM = 4, 32
CLIP_WIDTH, T5_WIDTH = 64, 96
LATENT_CHANNELS = 16
LATENT_EDGE = 32  # of a 256 x 256 picture


def make_vae():
    return AutoencoderKL(
        in_channels=3, out_channels=3, down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
        block_out_channels=[32, 48, 64, 64], layers_per_block=1, latent_channels=LATENT_CHANNELS, norm_num_groups=16,
        sample_size=256, use_quant_conv=False, use_post_quant_conv=False, force_upcast=True)


def make_transformer():
    model = FluxTransformer2DModel(
        in_channels=4 * LATENT_CHANNELS, num_layers=3, num_single_layers=11, attention_head_dim=HEAD_DIM,
        num_attention_heads=HEADS, joint_attention_dim=T5_WIDTH, pooled_projection_dim=CLIP_WIDTH, guidance_embeds=True,
        axes_dims_rope=[8, 12, 12])
    start_like_dit(model)
    return model


def make_t5(vocabulary):
    return T5EncoderModel(T5Config(
        vocab_size=-(-vocabulary // 32) * 32, d_model=T5_WIDTH, d_kv=32, d_ff=256, num_layers=2, num_heads=4,
        feed_forward_proj="gated-gelu", dropout_rate=0.0, is_encoder_decoder=False, use_cache=False,
        tie_word_embeddings=False, pad_token_id=0, eos_token_id=1))


def pack(latents):
    """(n, 16, 32, 32) -> (n, 256, 64), as FluxPipeline._pack_latents."""
    n, c, h, w = latents.shape
    return latents.view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(n, h * w // 4, c * 4)


def image_ids(device):
    """(256, 3), as FluxPipeline._prepare_latent_image_ids."""
    edge = LATENT_EDGE // 2
    ids = torch.zeros(edge, edge, 3, device=device)
    ids[..., 1] += torch.arange(edge, device=device)[:, None]
    ids[..., 2] += torch.arange(edge, device=device)[None]
    return ids.view(-1, 3)


class Denoiser(nn.Module):
    """The transformer and the two text encoders, which are trained together."""

    def __init__(self, tokenizer, tokenizer_2):
        super().__init__()
        self.transformer = make_transformer()
        self.text_encoder = make_clip(tokenizer, CLIP_WIDTH, 4 * CLIP_WIDTH, layers=2)
        self.text_encoder_2 = make_t5(len(tokenizer_2))

    def forward(self, latents, sigma, guidance, clip_ids, t5_ids):
        """Velocity (n, 256, 64) from noisy latents (n, 256, 64), sigma [n], guidance [n], ids (n, t) each."""
        # The pooled output reads no token after the first <|endoftext|>, so clip_ids may be shorter than 77.
        pooled = self.text_encoder(clip_ids).pooler_output
        text = self.text_encoder_2(t5_ids)[0]
        text_ids = torch.zeros(t5_ids.shape[1], 3, device=latents.device)
        return self.transformer(
            hidden_states=latents, timestep=sigma, guidance=guidance, pooled_projections=pooled, encoder_hidden_states=text,
            txt_ids=text_ids, img_ids=image_ids(latents.device), return_dict=False)[0]
