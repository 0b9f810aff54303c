"""The five golden FLUX configs: what each component looks like, how it is stored, and the request that is run."""

from captions import LONG

F = "FlowMatchEulerDiscreteScheduler"


def scheduler(**kw):
    base = dict(num_train_timesteps=1000, shift=1.0, use_dynamic_shifting=False, base_shift=0.5, max_shift=1.15,
                base_image_seq_len=256, max_image_seq_len=4096)
    return dict(base, **kw)


def clip(**kw):
    base = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                max_position_embeddings=77, hidden_act="quick_gelu", eos_token_id=2, bos_token_id=0, pad_token_id=1)
    base.update(kw)
    return dict(base, projection_dim=base["hidden_size"])


def t5(**kw):
    base = dict(vocab_size=448, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu",
                relative_attention_num_buckets=32, relative_attention_max_distance=128, is_encoder_decoder=False,
                tie_word_embeddings=False, dropout_rate=0.1, layer_norm_epsilon=1e-6)
    return dict(base, **kw)


def vae(channels, latent, **kw):
    n = len(channels)
    base = dict(in_channels=3, out_channels=3, down_block_types=["DownEncoderBlock2D"] * n,
                up_block_types=["UpDecoderBlock2D"] * n, block_out_channels=list(channels), layers_per_block=1,
                latent_channels=latent, norm_num_groups=4, sample_size=64, scaling_factor=0.3611, shift_factor=0.1159,
                use_quant_conv=False, use_post_quant_conv=False, mid_block_add_attention=True, force_upcast=True)
    return dict(base, **kw)


def transformer(**kw):
    base = dict(patch_size=1, in_channels=16, out_channels=None, num_layers=2, num_single_layers=2,
                guidance_embeds=True)
    return dict(base, **kw)


# storage: the dtype of each component's file; "f8" keeps vectors in f32. bits: mantissa bits kept of matrices.
# drop: stages left out of reference.safetensors for size. encode: height, width of the picture that is encoded.
CONFIGS = {
    "flux-dev": dict(
        about="dev kind, wide picture, 8x VAE, prompt and prompt_2 differ, CLIP with the legacy eos_token_id 2",
        seed=11, storage="bf16", bits=4, shards=1,
        scheduler=scheduler(shift=3.0, use_dynamic_shifting=True),
        tokenizer=dict(merges=80), tokenizer_2=dict(vocab_size=320),
        text_encoder=clip(),
        text_encoder_2=t5(),
        transformer=transformer(num_attention_heads=2, attention_head_dim=24, axes_dims_rope=[8, 8, 8], in_channels=16,
                                joint_attention_dim=32, pooled_projection_dim=32),
        vae=vae((8, 8, 16, 16), 4, sample_size=128),
        encode=(32, 48),
        request=dict(prompt="a red heart on a blue background, it's bright!", prompt_2="two small golden stars, top left",
                     height=64, width=96, num_inference_steps=3, guidance_scale=3.5, seed=7, num_images=1,
                     max_sequence_length=24),
    ),
    "flux-schnell": dict(
        about="schnell kind, four steps, batch of two pictures, one head of 64, quant convs, no VAE attention",
        seed=12, storage="f16", bits=4, shards=1,
        scheduler=scheduler(),
        tokenizer=dict(merges=60, specials_last=False), tokenizer_2=dict(vocab_size=280, files=("spiece.model",)),
        text_encoder=clip(hidden_size=24, num_attention_heads=3, intermediate_size=80, eos_token_id="modern"),
        text_encoder_2=t5(d_model=24, d_kv=8, num_heads=2, d_ff=48, relative_attention_num_buckets=16,
                          relative_attention_max_distance=24, vocab_size=400),
        transformer=transformer(num_attention_heads=1, attention_head_dim=64, axes_dims_rope=[16, 24, 24],
                                in_channels=16, out_channels=16, guidance_embeds=False, joint_attention_dim=24,
                                pooled_projection_dim=24),
        vae=vae((8, 16), 4, layers_per_block=2, use_quant_conv=True, use_post_quant_conv=True,
                mid_block_add_attention=False, scaling_factor=0.5, shift_factor=-0.2),
        encode=(20, 28),
        request=dict(prompt="A watercolour of the tiny fox, on the right", height=32, width=24, num_inference_steps=4,
                     guidance_scale=0.0, seed=2, num_images=2, max_sequence_length=16),
    ),
    "flux-odd": dict(
        about="packed grid of 17 by 15, three heads of 16 with uneven rope axes, float32 in three shards, patch_size 2",
        seed=13, storage="f32", bits=8, shards=3,
        scheduler=scheduler(shift=3.0, use_dynamic_shifting=True, base_shift=0.7, max_shift=1.3, base_image_seq_len=64,
                            max_image_seq_len=1024),
        tokenizer=dict(merges=40), tokenizer_2=dict(vocab_size=300, files=("tokenizer.json",)),
        text_encoder=clip(hidden_size=24, num_attention_heads=2, intermediate_size=40, num_hidden_layers=1,
                          hidden_act="gelu", layer_norm_eps=1e-6),
        text_encoder_2=t5(d_model=20, d_kv=12, num_heads=3, d_ff=36, relative_attention_num_buckets=20,
                          relative_attention_max_distance=40, vocab_size=400, layer_norm_epsilon=1e-5),
        transformer=transformer(num_attention_heads=3, attention_head_dim=16, axes_dims_rope=[2, 6, 8], patch_size=2,
                                in_channels=16, out_channels=4, joint_attention_dim=20, pooled_projection_dim=24),
        vae=vae((8, 12), 4, norm_num_groups=2, scaling_factor=0.7, shift_factor=0.0, use_quant_conv=True),
        encode=(22, 18),
        drop=("block.0.hidden_states", "block.2.hidden_states"),
        request=dict(prompt="three white owls & a huge grey rocket, bottom right", height=68, width=60,
                     num_inference_steps=2, guidance_scale=2.0, seed=123456789, num_images=1, max_sequence_length=20),
    ),
    "flux-long": dict(
        about="512 text tokens, CLIP cut at 77, modern eos_token_id below other ids, uneven rope axes, linear time shift",
        seed=14, storage="bf16", bits=4, shards=1,
        scheduler=scheduler(shift=1.0, use_dynamic_shifting=True, time_shift_type="linear", shift_terminal=0.1),
        tokenizer=dict(merges=90, specials_last=False), tokenizer_2=dict(vocab_size=340, files=("tokenizer.json",)),
        text_encoder=clip(hidden_size=32, num_attention_heads=4, hidden_act="gelu", eos_token_id="modern"),
        text_encoder_2=t5(d_model=24, d_kv=16, num_heads=2, d_ff=56, relative_attention_num_buckets=32,
                          relative_attention_max_distance=128),
        transformer=transformer(num_attention_heads=2, attention_head_dim=24, axes_dims_rope=[4, 8, 12],
                                in_channels=32, joint_attention_dim=24, pooled_projection_dim=32),
        vae=vae((8, 12, 16), 8, layers_per_block=1, scaling_factor=0.4, shift_factor=0.05, use_post_quant_conv=True,
                mid_block_add_attention=False),
        encode=(24, 16),
        drop=("block.0.encoder_hidden_states", "block.2.encoder_hidden_states", "block.3.encoder_hidden_states",
              "embed.encoder_hidden_states"),
        request=dict(prompt=LONG, height=40, width=48, num_inference_steps=2, guidance_scale=5.0, seed=4294967295,
                     num_images=1, max_sequence_length=512),
    ),
    "flux-cfg": dict(
        about="true CFG with a negative prompt, tiled VAE, two heads of 48, matrices of the transformer in F8_E4M3",
        seed=15, storage="f8", bits=2, shards=1, tiling=True,
        scheduler=scheduler(shift=2.5),
        tokenizer=dict(merges=70), tokenizer_2=dict(vocab_size=300),
        text_encoder=clip(hidden_size=40, num_attention_heads=2, intermediate_size=64),
        text_encoder_2=t5(d_model=32, d_kv=8, num_heads=6, d_ff=40, vocab_size=400),
        transformer=transformer(num_attention_heads=2, attention_head_dim=48, axes_dims_rope=[16, 16, 16],
                                in_channels=16, guidance_embeds=False, joint_attention_dim=32,
                                pooled_projection_dim=40),
        vae=vae((8, 16), 4, sample_size=24, norm_num_groups=4, use_quant_conv=True, use_post_quant_conv=True),
        encode=(40, 52),
        drop=("block.0.hidden_states", "block.2.hidden_states"),
        request=dict(prompt="a purple ghost and a silver key", negative_prompt="black lamp, tiny", true_cfg_scale=2.5,
                     height=40, width=56, num_inference_steps=3, guidance_scale=3.5, seed=42, num_images=1,
                     max_sequence_length=18),
    ),
}
