"""The transformers that are compared: their inputs in one file that para reads, too, and how their pipelines call them. SPDX-License-Identifier: Apache-2.0"""
import json
from pathlib import Path

import diffusers
import torch
from safetensors.torch import load_file, save_file

GUIDANCE = 4.0  # times 1000 it is exact in bfloat16, in which diffusers takes its sines; 3.5 becomes 3.504, another guidance than in float32


class Family:
    """A model's folder, and the size of what it draws."""

    halves = 1  # calls of classifier-free guidance that make a step
    text_tokens, padded_text = 512, None  # valid ones, which para gets; with padding, which diffusers gets, with a mask
    size, frames = (1024, 1024), 1  # the usual width and height
    plain_attention = True  # the pipeline gives no mask
    fullgraph = True  # a block compiles as one graph

    def __init__(self, folder, width=None, height=None, frames=None, text_tokens=None, padded_text=None):
        self.folder, self.width, self.height = Path(folder), width or self.size[0], height or self.size[1]
        self.config = json.loads((self.folder / "transformer" / "config.json").read_text())
        vae = self.folder / "vae" / "config.json"
        self.vae = json.loads(vae.read_text()) if vae.exists() else {}
        self.frames = frames or self.frames
        if text_tokens:
            self.text_tokens, self.padded_text = text_tokens, padded_text
        self.heads, self.head_dim = self.config["num_attention_heads"], self.config["attention_head_dim"]

    def load(self, device, dtype):
        model = getattr(diffusers, self.config["_class_name"]).from_pretrained(self.folder, subfolder="transformer", torch_dtype=dtype)
        return model.to(device).eval().requires_grad_(False)

    def para_words(self):
        words = ["--width", self.width, "--height", self.height, "--guidance", GUIDANCE] + (["--frames", self.frames] if self.frames > 1 else [])
        return [str(word) for word in words]

    def case(self, name):
        """As para bench names it."""
        name += f"-{self.width}" + (f"x{self.height}" if self.height != self.width else "") + (f"x{self.frames}f" if self.frames > 1 else "")
        return name + (f"-t{self.text_tokens}" if self.text_tokens != 512 else "")

    def text_width(self):
        return self.config["text_embed_dim"]

    def draw(self, path):
        """The file of inputs, normal random numbers."""
        numbers = torch.Generator("cpu").manual_seed(0)
        normal = lambda *shape: torch.randn(*shape, generator=numbers).to(torch.bfloat16)
        tensors = {"latents": normal(1, *self.latents_shape()), "encoder_hidden_states": normal(self.text_tokens, self.text_width())}
        if self.halves == 2:
            tensors["negative_encoder_hidden_states"] = normal(self.text_tokens, self.text_width())
        elif "pooled_projection_dim" in self.config:
            tensors["pooled_projections"] = normal(1, self.config["pooled_projection_dim"])
        save_file(tensors, path)

    def inputs(self, path, device, dtype, cut=False):
        """cut: without the padding of the text, which changes nothing but the time."""
        return Inputs(self, path, device, dtype, cut)

    def tokens(self, prediction):
        """The transformer's result for the prompt, in the form of para's: [tokens, channels]."""
        p, p_t = self.config["patch_size"], self.config.get("patch_size_t") or 1
        x = prediction[-1]
        c, f, h, w = x.shape
        return x.reshape(c, f // p_t, p_t, h // p, p, w // p, p).permute(1, 3, 5, 0, 2, 4, 6).reshape(-1, c * p_t * p * p)


class Inputs:
    """Those of the file, on a device; what does not change from step to step is made once."""

    def __init__(self, family, path, device, dtype, cut):
        given = {name: t.to(device, dtype) for name, t in load_file(path).items()}
        self.family, self.device, self.dtype, self.latents = family, device, dtype, given["latents"]
        negative = [given["negative_encoder_hidden_states"]] if family.halves == 2 else []
        text = torch.stack([*negative, given["encoder_hidden_states"]])
        valid, padding = text.shape[1], 0 if cut or not family.padded_text else family.padded_text - text.shape[1]
        if padding:  # as large as the text: what should not be seen shows
            numbers = torch.Generator("cpu").manual_seed(1)
            text = torch.cat([text, torch.randn(text.shape[0], padding, text.shape[2], generator=numbers).to(device, dtype)], 1)
        mask = (torch.arange(valid + padding, device=device) < valid)[None].repeat(family.halves, 1)
        self.rest = {**family.rest(self, given, mask, cut), "encoder_hidden_states": text, "return_dict": False}

    def predict(self, model, latents, sigma):
        """The model's own result, of all halves."""
        latents = latents.repeat(self.family.halves, *[1] * (latents.dim() - 1))
        return model(hidden_states=latents, timestep=self.family.timestep(sigma, self), **self.rest)[0]

    def step(self, model, latents, sigma, after):
        """Latents after a step of Euler's."""
        predicted = self.predict(model, latents, sigma).float()
        if self.family.halves == 2:
            negative, predicted = predicted.chunk(2)
            predicted = negative + GUIDANCE * (predicted - negative)
        return (latents.float() + (after - sigma) * predicted).to(self.dtype)


class Flux(Family):
    def latents_shape(self):
        return (self.height // 16) * (self.width // 16), self.config["in_channels"]

    def text_width(self):
        return self.config["joint_attention_dim"]

    def video_tokens(self):
        return self.latents_shape()[0]

    def timestep(self, sigma, inputs):
        return torch.full([1], sigma, device=inputs.device, dtype=inputs.dtype)

    def rest(self, inputs, given, mask, cut):
        height, width = self.height // 16, self.width // 16
        ids = torch.zeros(height, width, 3, device=inputs.device)
        ids[..., 1] = torch.arange(height, device=inputs.device)[:, None]
        ids[..., 2] = torch.arange(width, device=inputs.device)[None]
        return dict(pooled_projections=given["pooled_projections"], img_ids=ids.reshape(-1, 3).to(inputs.dtype),
                    txt_ids=torch.zeros(self.text_tokens, 3, device=inputs.device, dtype=inputs.dtype),
                    guidance=torch.full([1], GUIDANCE, device=inputs.device) if self.config.get("guidance_embeds") else None)

    def tokens(self, prediction):
        return prediction[-1]


class Video(Family):
    space, time = 8, 4  # pixels and frames of a latent

    def latent_size(self):
        return (self.frames - 1) // self.time + 1, self.height // self.space, self.width // self.space

    def latents_shape(self):
        return self.config["in_channels"], *self.latent_size()

    def video_tokens(self):
        f, h, w = self.latent_size()
        return f // (self.config.get("patch_size_t") or 1) * (h // self.config["patch_size"]) * (w // self.config["patch_size"])


class HunyuanVideo(Video):
    size, frames = (960, 544), 61
    text_tokens, padded_text, plain_attention = 64, 256, False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.space, self.time = self.vae.get("spatial_compression_ratio", 8), self.vae.get("temporal_compression_ratio", 4)

    def timestep(self, sigma, inputs):
        return torch.full([1], 1000 * sigma, device=inputs.device)

    def rest(self, inputs, given, mask, cut):
        guidance = torch.full([1], 1000 * GUIDANCE, device=inputs.device) if self.config["guidance_embeds"] else None
        return dict(encoder_attention_mask=mask.to(inputs.dtype), pooled_projections=given["pooled_projections"], guidance=guidance)


class Mochi(Video):
    size, frames = (848, 480), 85
    halves, text_tokens, padded_text, time, plain_attention = 2, 40, 256, 6, False
    fullgraph = False  # blocks look for the valid tokens of the text

    def timestep(self, sigma, inputs):
        return torch.full([2], 1000 * (1 - sigma), device=inputs.device, dtype=inputs.dtype)

    def rest(self, inputs, given, mask, cut):
        return dict(encoder_attention_mask=mask)


class CogVideoX(Video):
    size, frames = (720, 480), 49
    halves, text_tokens = 2, 226

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.space = 2 ** (len(self.vae.get("block_out_channels", [1] * 4)) - 1)
        self.time = self.vae.get("temporal_compression_ratio", 4)
        assert not self.config.get("patch_size_t"), "CogVideoX 1.5 is not compared"

    def latents_shape(self):
        f, h, w = self.latent_size()
        return f, self.config["in_channels"], h, w

    def timestep(self, sigma, inputs):
        return torch.full([2], round(1000 * sigma) - 1, device=inputs.device, dtype=torch.int64)

    def rest(self, inputs, given, mask, cut):
        if not self.config["use_rotary_positional_embeddings"]:
            return dict(image_rotary_emb=None)
        prepare = diffusers.CogVideoXPipeline._prepare_rotary_positional_embeddings
        pipe = lambda: None
        pipe.vae_scale_factor_spatial, pipe.transformer = self.space, lambda: None
        pipe.transformer.config = diffusers.configuration_utils.FrozenDict({"patch_size_t": None, **self.config})  # what a file may leave out
        return dict(image_rotary_emb=prepare(pipe, self.height, self.width, self.latent_size()[0], inputs.device))

    def tokens(self, prediction):
        return super().tokens(prediction.transpose(1, 2))


FAMILIES = {"flux": Flux, "hunyuan-video": HunyuanVideo, "mochi": Mochi, "cogvideox": CogVideoX}
