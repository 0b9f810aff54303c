"""A whole FLUX picture by para and by diffusers, on the same folder: text encoders, denoising loop and VAE, sides in turn.

    python3 bench/peers/make_weights.py bench/configs/flux.1-dev /tmp/flux --tokenizers models/tiny-flux
    python3 bench/compare_flux_picture.py /tmp/flux --variants eager,compiled --csv bench/results/flux.csv

Warm: every side has drawn a picture before. In each round every side draws one, in random order. diffusers' "compiled" has the transformer's blocks, the text
encoders and the VAE's decoder compiled, and cuDNN's attention in the loop; "compiled-blocks" the transformer's blocks alone. Prints medians and ratios; appends rows to the CSV. SPDX-License-Identifier: Apache-2.0
"""
import argparse
import sys
import time
from pathlib import Path

import torch
from diffusers import FluxPipeline

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from para_bench import ParaBench, add_arguments, append, names, para_dtype, show_times, take_turns  # noqa: E402
from torch.nn.attention import SDPBackend  # noqa: E402
from torch_step import attention_of, compile_blocks, wait  # noqa: E402

PROMPT = "a red heart on a blue background"
STAGES = ("text", "loop", "decode", "picture")


class Picture:
    def __init__(self, a, variant):
        compiled = variant != "eager"
        self.a, self.backend = a, SDPBackend.CUDNN_ATTENTION if compiled and a.device == "cuda" else None
        # Its head of 512: what PyTorch takes by itself where nothing is compiled, but where it is, it fails to choose.
        self.decoder_backend = SDPBackend.EFFICIENT_ATTENTION if self.backend and variant == "compiled" else None
        self.pipe = FluxPipeline.from_pretrained(a.model, torch_dtype=getattr(torch, a.dtype)).to(a.device)
        self.pipe.set_progress_bar_config(disable=True)
        if compiled:
            compile_blocks(self.pipe.transformer, fullgraph=True)
        if variant == "compiled":
            for model in (self.pipe.text_encoder, self.pipe.text_encoder_2):
                model.compile()
            self.pipe.vae.decoder.compile()

    def timed(self, call):
        wait(self.a.device)
        start = time.perf_counter()
        result = call()
        wait(self.a.device)
        return result, 1e3 * (time.perf_counter() - start)

    def decode(self, latents):
        pipe, vae = self.pipe, self.pipe.vae
        latents = pipe._unpack_latents(latents, self.a.height, self.a.width, pipe.vae_scale_factor)
        image = vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor, return_dict=False)[0]
        return pipe.image_processor.postprocess(image, output_type="pt").float().cpu()

    @torch.no_grad()
    def run(self):
        a, pipe = self.a, self.pipe
        (embeds, pooled, _), text = self.timed(lambda: pipe.encode_prompt(PROMPT, None, device=a.device, max_sequence_length=a.max_sequence_length))
        with attention_of(self.backend):
            latents, loop = self.timed(lambda: pipe(
                prompt_embeds=embeds, pooled_prompt_embeds=pooled, height=a.height, width=a.width, num_inference_steps=a.steps, output_type="latent",
                generator=torch.Generator("cpu").manual_seed(0)).images)
        with attention_of(self.decoder_backend):
            decode = self.timed(lambda: self.decode(latents))[1]
        return [text, loop, decode, text + loop + decode]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, "eager,compiled", "-picture")
    parser.add_argument("--max-sequence-length", type=int, default=512, help="tokens of the text (%(default)s)")
    parser.set_defaults(width=1024, height=1024)
    a = parser.parse_args()
    a.case = a.case or f"flux.1-dev-{a.width}" + (f"x{a.height}" if a.height != a.width else "")
    return a


def main():
    a = arguments()
    para = ParaBench(a.para, "bench", "pipeline", str(a.model), "--prompt", PROMPT, "--width", str(a.width), "--height", str(a.height), "--steps", str(a.steps),
                     "--max-sequence-length", str(a.max_sequence_length), "--device", a.device, "--dtype", para_dtype(a), *a.para_options.split())
    sides = {("para", para_dtype(a)): para}
    for name in names(a.variants):
        start = time.perf_counter()
        sides["diffusers", name] = Picture(a, name)
        sides["diffusers", name].run()
        print(f"{name}: loaded and drawn once in {time.perf_counter() - start:.0f} s", flush=True)
    runs = take_turns(sides, a.rounds)
    para.close()

    rows = []
    for column, stage in enumerate(STAGES):
        times = {side: [run[column] for run in values] for side, values in runs.items()}
        medians = show_times(f"{a.case}-{stage}", times, list(sides)[0])
        rows += [(f"{a.case}-{stage}", system, variant, ms) for (system, variant), ms in medians.items()]
    append(a.csv, a.run, a.device, rows)


main()
