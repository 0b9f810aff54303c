"""The golden CogVideoX transformers: what each looks like, how it is stored, and what it is run on."""


def transformer(**kw):
    base = dict(num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4, flip_sin_to_cos=True, freq_shift=0,
                time_embed_dim=20, text_embed_dim=24, num_layers=2, attention_bias=True, sample_width=10, sample_height=6,
                sample_frames=9, patch_size=2, patch_size_t=None, temporal_compression_ratio=4, max_text_seq_length=13,
                activation_fn="gelu-approximate", timestep_activation_fn="silu", norm_elementwise_affine=True, norm_eps=1e-5,
                spatial_interpolation_scale=1.875, temporal_interpolation_scale=1.0)
    return dict(base, **kw)


# latents: frames, height, width. text: tokens. runs: indices of the timesteps; all stages of the first are kept, of the others
# the prediction. storage, bits, shards: as in flux_configs.py.
CONFIGS = {
    "cogvideox-2b": dict(
        about="sincos positions, stretched by 1.875 and 1.25; three heads; grid of 3 x 5 x 3, not the trained one; 13 of text; F8_E4M3 matrices",
        seed=41, storage="f8", bits=2, shards=1,
        transformer=transformer(num_attention_heads=3, temporal_interpolation_scale=1.25),
        latents=(3, 10, 6), text=13, timesteps=(999, 479, 19), runs=(0, 1, 2),
    ),
    "cogvideox-5b": dict(
        about="rotary positions on a grid of 3 x 7 x 5, stretched to 3 x 5; no biases in patches and attention; more text than "
              "max_text_seq_length; sin before cos, freq_shift 1",
        seed=42, storage="f8", bits=2, shards=2,
        transformer=transformer(use_rotary_positional_embeddings=True, attention_bias=False, patch_bias=False,
                                flip_sin_to_cos=False, freq_shift=1, norm_eps=1e-4, in_channels=3, out_channels=3),
        latents=(3, 14, 10), text=17, timesteps=(999, 259), runs=(0, 1),
    ),
    "cogvideox-1.5": dict(
        about="temporal patches of 2, rotary positions counted from 0 on 2 x 5 x 3 of 7 x 9; one head of 32",
        seed=43, storage="f8", bits=2, shards=1,
        transformer=transformer(num_attention_heads=1, attention_head_dim=32, use_rotary_positional_embeddings=True, patch_size_t=2,
                                sample_height=14, sample_width=18, sample_frames=81, in_channels=5, out_channels=5,
                                spatial_interpolation_scale=1.0),
        latents=(4, 10, 6), text=7, timesteps=(999, 19), runs=(0, 1),
    ),
    "cogvideox-learned": dict(
        about="learned positions beside rotary ones; norms without weights; SwiGLU; gelu for the timestep; more text than video; patch_size 1",
        seed=44, storage="bf16", bits=4, shards=1,
        transformer=transformer(use_rotary_positional_embeddings=True, use_learned_positional_embeddings=True, num_layers=1,
                                norm_elementwise_affine=False, norm_eps=1e-4, activation_fn="swiglu", timestep_activation_fn="gelu",
                                patch_size=1, sample_width=3, sample_height=3, sample_frames=5, max_text_seq_length=29),
        latents=(2, 3, 3), text=29, timesteps=(721,), runs=(0,),
    ),
}
