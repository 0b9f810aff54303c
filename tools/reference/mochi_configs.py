"""The golden Mochi transformers: what each looks like, how it is stored, and what it is run on."""


def transformer(**kw):
    base = dict(patch_size=2, num_layers=3, in_channels=4, out_channels=None, qk_norm="rms_norm", time_embed_dim=256,
                activation_fn="swiglu", max_sequence_length=256)
    return dict(base, **kw)


# latents: frames, height, width. text: tokens with padding. runs: (valid tokens, index of the timestep); all stages of the
# first are kept, of the others embedded text and prediction. storage, bits, shards: as in flux_configs.py.
CONFIGS = {
    "mochi-wide": dict(
        about="text of half the width, three blocks, grid of 3 x 5 x 3; padded, whole and no text at all",
        seed=31, storage="bf16", bits=4, shards=1,
        transformer=transformer(num_attention_heads=2, attention_head_dim=16, pooled_projection_dim=16,
                                text_embed_dim=24),
        latents=(3, 10, 6), text=14, timesteps=(0.0, 25.5, 812.75),
        runs=((9, 1), (14, 0), (0, 2)),
    ),
    "mochi-odd": dict(
        about="three heads of 10, text wider than a third and odd, patch_size 1, sinusoids of 64, two blocks, three channels",
        seed=32, storage="f16", bits=6, shards=2,
        transformer=transformer(num_attention_heads=3, attention_head_dim=10, pooled_projection_dim=13, num_layers=2,
                                patch_size=1, in_channels=3, out_channels=3, text_embed_dim=16, time_embed_dim=64),
        latents=(2, 7, 5), text=11, timesteps=(3.125, 500.0),
        runs=((1, 1), (11, 0), (7, 1)),
    ),
    "mochi-text": dict(
        about="one head, one block, more text than video and as wide, F8_E4M3 matrices",
        seed=33, storage="f8", bits=2, shards=1,
        transformer=transformer(num_attention_heads=1, attention_head_dim=24, pooled_projection_dim=24, num_layers=1,
                                in_channels=5, text_embed_dim=16),
        latents=(1, 4, 6), text=75, timesteps=(999.0,),
        runs=((67, 0), (0, 0), (3, 0)),
    ),
}
