"""The golden HunyuanVideo transformers: what each looks like, how it is stored, and what it is run on."""


def transformer(**kw):
    base = dict(in_channels=4, out_channels=4, num_layers=2, num_single_layers=2, num_refiner_layers=2, mlp_ratio=4.0,
                patch_size=2, patch_size_t=1, qk_norm="rms_norm", guidance_embeds=True, rope_theta=256.0,
                image_condition_type=None)
    return dict(base, **kw)


# latents: frames, height, width. text: tokens with padding. runs: (valid tokens, index of the timestep); all stages of the
# first are kept, of the others refined text and prediction. storage, bits, shards: as in flux_configs.py.
CONFIGS = {
    "hunyuan-guided": dict(
        about="guidance, two refiner blocks, grid of 3 x 5 x 3, uneven rope axes; padded, whole and one token of text",
        seed=21, storage="bf16", bits=4, shards=1,
        transformer=transformer(num_attention_heads=2, attention_head_dim=16, rope_axes_dim=[2, 6, 8],
                                text_embed_dim=20, pooled_projection_dim=24),
        latents=(3, 10, 6), text=14, timesteps=(1000.0, 731.25, 83.5), guidance_scale=6.0,
        runs=((9, 0), (14, 1), (1, 2)),
    ),
    "hunyuan-odd": dict(
        about="no guidance, temporal patches of 2, three heads of 10, mlp_ratio 2.5, rope_theta 100, one refiner block",
        seed=22, storage="f16", bits=6, shards=2,
        transformer=transformer(num_attention_heads=3, attention_head_dim=10, rope_axes_dim=[2, 4, 4], num_layers=1,
                                num_refiner_layers=1, mlp_ratio=2.5, in_channels=3, out_channels=3, patch_size_t=2,
                                guidance_embeds=False, rope_theta=100.0, text_embed_dim=28, pooled_projection_dim=12),
        latents=(6, 14, 10), text=13, timesteps=(998.5, 512.0), guidance_scale=1.0,
        runs=((7, 0), (13, 1)),
    ),
    "hunyuan-text": dict(
        about="one head, more text than video, patch_size 1, one dual block and one single block, F8_E4M3 matrices",
        seed=23, storage="f8", bits=2, shards=1,
        transformer=transformer(num_attention_heads=1, attention_head_dim=24, rope_axes_dim=[8, 4, 12], num_layers=1,
                                num_single_layers=1, patch_size=1, in_channels=5, out_channels=5, text_embed_dim=16,
                                pooled_projection_dim=8),
        latents=(2, 3, 3), text=75, timesteps=(900.0,), guidance_scale=2.5,
        runs=((67, 0), (3, 0)),
    ),
}
