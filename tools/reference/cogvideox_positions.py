"""Writes tests/data/cogvideox_positions.json: rotary tables and sincos positions of CogVideoX at real sizes, a few tokens of each.

A case holds the transformer's config, the grid of tokens, `tokens` (which ones), and of each of these `cos` and `sin` at every even
dimension of the head, or `positions` at every 61st of the inner dimension.
"""

import os
from types import SimpleNamespace

from diffusers import CogVideoXPipeline
from diffusers.models.embeddings import CogVideoXPatchEmbed

from common import DATA
from rng_cuda import write

TRAINED = dict(num_attention_heads=48, attention_head_dim=64, sample_width=90, sample_height=60, sample_frames=49, patch_size=2,
               patch_size_t=None, use_rotary_positional_embeddings=True)
LATER = dict(TRAINED, sample_width=300, sample_height=300, sample_frames=81, patch_size_t=2)
SMALL = dict(TRAINED, num_attention_heads=30, use_rotary_positional_embeddings=False, temporal_interpolation_scale=1.5,
             spatial_interpolation_scale=1.875)
# latents: frames, height, width
CASES = [(TRAINED, (13, 60, 90)), (TRAINED, (13, 90, 60)), (TRAINED, (5, 34, 122)), (TRAINED, (1, 2, 2)), (TRAINED, (3, 2, 66)),
         (LATER, (22, 96, 170)), (LATER, (2, 170, 96)), (SMALL, (13, 60, 90)), (SMALL, (4, 34, 18))]
STEP = 61


def numbers(tensor):
    return [float(f"{v:.9g}") for v in tensor.double().flatten().tolist()]


def case(config, latents):
    frames, height, width = latents
    p, p_t = config["patch_size"], config["patch_size_t"] or 1
    grid = [frames // p_t, height // p, width // p]
    n = grid[0] * grid[1] * grid[2]
    tokens = sorted({0, n // 5, n // 2, 2 * n // 3, n - 1} | ({1, grid[2]} if n > grid[2] else set()))
    out = dict(config=config, grid=grid, tokens=tokens)
    if config["use_rotary_positional_embeddings"]:
        pipe = SimpleNamespace(vae_scale_factor_spatial=8, transformer=SimpleNamespace(config=SimpleNamespace(**config)))
        cos, sin = CogVideoXPipeline._prepare_rotary_positional_embeddings(pipe, height * 8, width * 8, frames, "cpu")
        assert (cos[:, ::2] == cos[:, 1::2]).all()
        return dict(out, cos=numbers(cos[tokens][:, ::2]), sin=numbers(sin[tokens][:, ::2]))
    embed = CogVideoXPatchEmbed(embed_dim=config["num_attention_heads"] * config["attention_head_dim"], text_embed_dim=8,
                                spatial_interpolation_scale=config["spatial_interpolation_scale"],
                                temporal_interpolation_scale=config["temporal_interpolation_scale"])
    whole = embed._get_positional_embeddings(height, width, (frames - 1) * 4 + 1)[0, embed.max_text_seq_length:].float()
    return dict(out, positions=numbers(whole[tokens][:, ::STEP]))


def main():
    write(os.path.join(DATA, "cogvideox_positions.json"), {"cases": [case(*c) for c in CASES]})


if __name__ == "__main__":
    main()
