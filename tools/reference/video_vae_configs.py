"""The golden video VAEs: what each looks like, how it is stored, and what it is run on."""


def hunyuan_video(**kw):
    down, up = "HunyuanVideoDownBlock3D", "HunyuanVideoUpBlock3D"
    n = len(kw["block_out_channels"])
    return dict(dict(latent_channels=4, layers_per_block=1, norm_num_groups=2, down_block_types=[down] * n,
                     up_block_types=[up] * n), **kw)


def cogvideox(**kw):
    down, up = "CogVideoXDownBlock3D", "CogVideoXUpBlock3D"
    n = len(kw["block_out_channels"])
    return dict(dict(latent_channels=4, layers_per_block=1, norm_num_groups=2, down_block_types=[down] * n, up_block_types=[up] * n), **kw)


def overlaps(height, width):
    """Each (size, overlap)."""
    return dict(tile_sample_min_height=height[0], tile_overlap_factor_height=height[1], tile_sample_min_width=width[0],
                tile_overlap_factor_width=width[1])


def tiles(height, width, frames=None):
    """Each (size, stride), as enable_tiling takes them."""
    out = dict(tile_sample_min_height=height[0], tile_sample_stride_height=height[1], tile_sample_min_width=width[0],
               tile_sample_stride_width=width[1])
    if frames:
        out.update(tile_sample_min_num_frames=frames[0], tile_sample_stride_num_frames=frames[1])
    return out


# decode: name -> latents (n, frames, height, width), tiles (None: diffusers' own) and whether tiling is on. encode: name -> the decode whose video goes
# in, cut to (frames, height, width), tiles, tiling.
CONFIGS = {
    "video-vae-hunyuan": dict(
        about="three levels, all of which resample space, two time; two videos; odd sizes; tiles in space, in time, in both",
        cls="AutoencoderKLHunyuanVideo", seed=31, storage="bf16", bits=4,
        vae=hunyuan_video(block_out_channels=[4, 8, 8], scaling_factor=0.5),
        decode={
            "whole": dict(latents=(2, 2, 1, 2)),
            "one_frame": dict(latents=(1, 1, 2, 1)),
            "frames": dict(latents=(1, 4, 2, 1), tiles=tiles((32, 24), (32, 24), (8, 4))),
            "tiled": dict(latents=(1, 3, 3, 4), tiles=tiles((16, 8), (24, 16), (9, 6)), tiling=True),
        },
        encode={
            "whole": dict(video="frames", cut=(11, 13, 7)),
            "tiled": dict(video="tiled", cut=(9, 23, 31), tiles=tiles((16, 8), (24, 16), (8, 4)), tiling=True),
            "frames": dict(video="frames", cut=(13, 16, 5), tiles=tiles((32, 24), (32, 24), (8, 4))),
        },
    ),
    "video-vae-hunyuan-plain": dict(
        about="four levels with a spatial ratio of 4, no attention, gelu, groups of one channel, two layers per block, 2 channels of pixels",
        cls="AutoencoderKLHunyuanVideo", seed=32, storage="f16", bits=6,
        vae=hunyuan_video(block_out_channels=[2, 4, 4, 4], spatial_compression_ratio=4, act_fn="gelu", layers_per_block=2,
                          mid_block_add_attention=False, latent_channels=3, in_channels=2, out_channels=2),
        decode={
            "whole": dict(latents=(1, 3, 3, 5)),
            "tiled": dict(latents=(1, 3, 5, 7), tiles=tiles((16, 12), (12, 8)), tiling=True),
        },
        encode={"whole": dict(video="whole", cut=(9, 11, 19))},
    ),
    "video-vae-mochi": dict(
        about="two levels; attention in two blocks of the encoder; temporal ratio 3; two videos; odd sizes; tiles",
        cls="AutoencoderKLMochi", seed=33, storage="f8", bits=2,
        vae=dict(encoder_block_out_channels=[32, 32], decoder_block_out_channels=[64, 32], latent_channels=4, layers_per_block=[0, 1, 1],
                 temporal_expansions=[3], spatial_expansions=[2], add_attention_block=[False, True, True], latents_mean=[0.1, -0.2, 0.3, 0.0],
                 latents_std=[1.0, 0.5, 1.5, 2.0], scaling_factor=1.25),
        decode={
            "whole": dict(latents=(2, 2, 3, 2)),
            "one_frame": dict(latents=(1, 1, 2, 3)),
            "tiled": dict(latents=(1, 3, 9, 7), tiles=tiles((8, 6), (6, 4)), tiling=True),
        },
        encode={
            "whole": dict(video="tiled", cut=(6, 7, 9)),
            "one_frame": dict(video="tiled", cut=(1, 8, 7)),
            "tiled": dict(video="tiled", cut=(7, 17, 12), tiles=tiles((8, 6), (6, 4)), tiling=True),
        },
    ),
    "video-vae-cogvideox": dict(
        about="three levels, two of which resample time; 1 to 5 frames of latents; two videos; odd sizes; tiles",
        cls="AutoencoderKLCogVideoX", seed=34, storage="bf16", bits=4,
        vae=cogvideox(block_out_channels=[4, 8, 8], norm_eps=1e-3, sample_height=20, sample_width=36),
        decode={
            "whole": dict(latents=(2, 2, 2, 1)),
            "one_frame": dict(latents=(1, 1, 1, 2)),
            "batches": dict(latents=(1, 5, 2, 1)),
            "even": dict(latents=(1, 4, 1, 2)),
            "tiled": dict(latents=(1, 3, 3, 5), tiling=True),
            "factors": dict(latents=(1, 4, 3, 4), tiles=overlaps((8, 0.5), (12, 0.25)), tiling=True),
        },
        encode={
            "one_frame": dict(video="tiled", cut=(1, 9, 6)),
            "whole": dict(video="batches", cut=(13, 8, 4)),
            "batches": dict(video="batches", cut=(17, 7, 4)),
            "tiled": dict(video="factors", cut=(16, 12, 16), tiles=overlaps((8, 0.5), (12, 0.25)), tiling=True),
        },
    ),
    "video-vae-cogvideox-quant": dict(
        about="two levels, two layers per block, temporal ratio 2, both quant convs, relu",
        cls="AutoencoderKLCogVideoX", seed=35, storage="f8", bits=2,
        vae=cogvideox(block_out_channels=[6, 3], norm_num_groups=3, temporal_compression_ratio=2, act_fn="relu", latent_channels=3, use_quant_conv=True,
                      use_post_quant_conv=True, layers_per_block=2, scaling_factor=0.7),
        decode={"whole": dict(latents=(1, 5, 3, 4))},
        encode={"whole": dict(video="whole", cut=(9, 5, 7))},
    ),
}
