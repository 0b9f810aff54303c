"""How exact para's CLIP, T5 and VAE of FLUX are in bfloat16, beside diffusers' in bfloat16: each against float32, on the same weights and inputs.

    python3 bench/peers/make_weights.py bench/configs/flux.1-dev /tmp/flux --tokenizers models/tiny-flux
    python3 bench/compare_flux_stages.py /tmp/flux

The relative L2 error of each stage, over a few prompts and latents, must be at most 1.1 x diffusers'. That says something only where errors show: so attention left
out must move what float32 gives by 30 % or more, and faults that a kernel could have, planted in diffusers' bfloat16, must be 3 x that limit or more. Prints a line
for each, PASS or FAIL, and ends with 1 where one fails. The transformer is not needed; for its error see bench/compare_flux.py --accuracy.
SPDX-License-Identifier: Apache-2.0
"""
import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import diffusers
import torch
import transformers
from safetensors.torch import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from para_bench import add_para_arguments, para_dtype, run_para  # noqa: E402
from torch_step import attention, error, heads_swapped, keys_dropped, none  # noqa: E402

PROMPTS = Path(__file__).parent / "prompts.txt"
LIMIT, MOVED, FAULT = 1.1, 0.3, 3.0  # times diffusers' error; of the output, without attention; times the limit


class Text:
    """A text encoder and the prompts' ids, which fill all places: causal attention sees nothing of what comes after a prompt's end."""

    tile, heads = 64, True  # keys of a dropped tile; whether there are heads to be swapped

    def __init__(self, a, number, prompts, tokens, name, field):
        self.a, self.folder, self.name, self.field = a, "text_encoder" + number, name, field
        tokenizer = getattr(transformers, a.index["tokenizer" + number][1]).from_pretrained(a.model, subfolder="tokenizer" + number)
        options = dict(padding="max_length", max_length=tokens or tokenizer.model_max_length, truncation=True, return_tensors="pt")
        self.inputs = [tokenizer(prompt, **options).input_ids.to(a.device) for prompt in prompts]
        self.size = f"{self.inputs[0].shape[1]} tokens"

    def load(self):
        return getattr(transformers, self.a.index[self.folder][1]).from_pretrained(self.a.model, subfolder=self.folder, dtype="auto")

    def run(self, model, ids):
        return getattr(model(ids, output_hidden_states=False), self.field).cpu()

    def of_para(self, outputs):
        return outputs[self.name]


class Vae:
    tile, heads = 128, False  # it has one head

    def __init__(self, a, latents):
        self.a, self.inputs, self.size = a, [given.to(a.device) for given in latents], f"{a.width}x{a.height}"

    def load(self):
        return diffusers.AutoencoderKL.from_pretrained(self.a.model, subfolder="vae")

    def run(self, model, latents):
        """As FluxPipeline decodes, before any clamping: -1 to 1."""
        latents = diffusers.FluxPipeline._unpack_latents(latents.to(model.dtype), self.a.height, self.a.width, self.a.scale)
        return model.decode(latents / model.config.scaling_factor + model.config.shift_factor, return_dict=False)[0].float().cpu()

    def of_para(self, outputs):
        return outputs["images"] * 2 - 1


def draw_latents(a):
    """Packed normal random numbers, exact in bfloat16. The first and last row are thrice as loud: so few keys among thousands matter only if they stand out."""
    vae = json.loads((a.model / "vae" / "config.json").read_text())
    a.scale = 2 ** (len(vae["block_out_channels"]) - 1)
    if a.width % (2 * a.scale) or a.height % (2 * a.scale):
        sys.exit(f"--width {a.width} --height {a.height}: give multiples of {2 * a.scale}")
    numbers = torch.Generator("cpu").manual_seed(0)
    channels, height, width = vae["latent_channels"], a.height // a.scale, a.width // a.scale
    latents = torch.randn(a.inputs, channels, height, width, generator=numbers)
    latents[:, :, [0, -1]] *= 3
    return diffusers.FluxPipeline._pack_latents(latents.to(torch.bfloat16), a.inputs, channels, height, width).split(1)


def with_short_t5(a, folder):
    """The same model, but for T5, of which it has the first layer alone: for CLIP's sake, whose one vector a prompt says little, and which so needs many prompts."""
    for part in a.model.resolve().iterdir():
        if part.name != "text_encoder_2":
            (folder / part.name).symlink_to(part)
    t5 = folder / "text_encoder_2"
    t5.mkdir()
    for file in (a.model.resolve() / t5.name).iterdir():
        if file.name != "config.json":
            (t5 / file.name).symlink_to(file)
    (t5 / "config.json").write_text(json.dumps(dict(json.loads((a.model / t5.name / "config.json").read_text()), num_layers=1)))
    return folder


def by_para(a, model, prompts, latents):
    """What para's stages give of each input: {name: tensor}."""
    results = []
    with tempfile.TemporaryDirectory() as work:
        given, out = Path(work) / "latents.safetensors", Path(work) / "outputs.safetensors"
        for prompt, noise in zip(prompts, latents):
            save_file({"latents": noise.contiguous()}, given)
            run_para(a.para, "bench", "pipeline", model, "--prompt", prompt, "--latents", given, "--save-outputs", out, "--width", a.width, "--height", a.height,
                     "--max-sequence-length", a.max_sequence_length, "--device", a.device, "--dtype", para_dtype(a), "--quiet", *a.para_options.split())
            results.append({name: tensor.clone() for name, tensor in load_file(out).items()})
    return results


class Verdict:
    def __init__(self):
        self.failed = 0

    def say(self, good, line):
        self.failed += not good
        print(f"{'PASS' if good else 'FAIL'}  {line}", flush=True)


@torch.no_grad()
def compare(a, name, stage, by_para, verdict):
    """Faults are planted with the first input."""
    start = time.perf_counter()
    model = stage.load().to(a.device).float().eval().requires_grad_(False)
    right = [stage.run(model, given) for given in stage.inputs]
    with attention(none):
        moved = error(stage.run(model, stage.inputs[0]), right[0])
    model.to(getattr(torch, a.dtype))
    theirs = [stage.run(model, given) for given in stage.inputs]
    ours = [stage.of_para(outputs).reshape(right[0].shape) for outputs in by_para]
    peer, para = (error(torch.cat(got), torch.cat(right)) for got in (theirs, ours))
    limit, one = LIMIT * peer, LIMIT * error(theirs[0], right[0])
    verdict.say(para <= limit, f"{name}, {stage.size}, {len(right)} inputs: error of para {para:.4g}, of diffusers {peer:.4g}, limit {limit:.4g}")
    verdict.say(moved >= MOVED, f"{name}: without attention float32 moves by {100 * moved:.0f} %, wanted at least {100 * MOVED:.0f} %")
    faults = {f"the {which} {stage.tile} keys dropped": keys_dropped(which == "first", stage.tile) for which in ("first", "last")}
    if stage.heads:
        faults["two heads swapped"] = heads_swapped
    for what, fault in faults.items():
        with attention(fault):
            wrong = error(stage.run(model, stage.inputs[0]), right[0])
        verdict.say(wrong >= FAULT * one, f"{name}, planted, {what}: error {wrong:.4g}, {wrong / one:.1f} x the limit, wanted at least {FAULT:g} x")
    print(f"      {name}: {time.perf_counter() - start:.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_para_arguments(parser)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--height", type=int, default=1024)
    parser.add_argument("--max-sequence-length", type=int, default=512, help="tokens of T5's text (%(default)s)")
    parser.add_argument("--inputs", type=int, default=2, help="prompts of T5, and latents (%(default)s)")
    parser.add_argument("--clip-inputs", type=int, default=16, help="prompts of CLIP (%(default)s)")
    a = parser.parse_args()
    begin = time.perf_counter()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    diffusers.logging.set_verbosity_error()  # warns of modules to be kept in float32, of which there are none
    transformers.logging.set_verbosity_error()  # and of prompts that are cut
    transformers.logging.disable_progress_bar()
    a.index = json.loads((a.model / "model_index.json").read_text())
    lines = [line for line in PROMPTS.read_text().splitlines() if line and not line.startswith("#")]
    prompts = [" ".join(lines[i:] + lines[:i]) for i in range(max(a.inputs, a.clip_inputs))]
    latents = draw_latents(a)
    para = by_para(a, a.model, prompts[:a.inputs], latents)
    with tempfile.TemporaryDirectory() as folder:
        para_clip = by_para(a, with_short_t5(a, Path(folder)), prompts[:a.clip_inputs], [latents[0]] * a.clip_inputs)
    print(f"      para: {time.perf_counter() - begin:.0f} s", flush=True)
    verdict = Verdict()
    compare(a, "CLIP", Text(a, "", prompts[:a.clip_inputs], None, "pooled_prompt_embeds", "pooler_output"), para_clip, verdict)
    compare(a, "T5", Text(a, "_2", prompts[:a.inputs], a.max_sequence_length, "prompt_embeds", "last_hidden_state"), para, verdict)
    compare(a, "VAE", Vae(a, latents), para, verdict)
    print(f"{'PASS' if not verdict.failed else f'FAIL: {verdict.failed} of the above'}, {time.perf_counter() - begin:.0f} s")
    sys.exit(1 if verdict.failed else 0)


main()
