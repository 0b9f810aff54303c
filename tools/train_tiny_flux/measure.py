"""Measures a tiny-flux folder in diffusers' own FluxPipeline and draws its contact sheet and model card.

On 200 combinations held out of training: is the background's colour right, and is the picture, where the emoji should be,
nearest to that emoji's own composite among all emoji? The same measure on true pictures and on shuffled captions shows what
it can tell apart.
"""

import argparse
import json
import random
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import FluxPipeline
from safetensors.torch import load_file

import shared  # noqa: F401
from captions import BACKGROUNDS, caption, held_out, layout, with_count
from emoji import emoji_list
from pictures import Composer
from sheet import draw_sheet

BORDER = 12  # pixels on each side; the layouts leave 16 free
STEPS = 20
GUIDANCE = 3.5


def generate_by_program(para, folder, prompts, seed, steps, text_length, true_cfg):
    """The same pictures by para, which draws what diffusers draws, faster on a CPU."""
    parts = []
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "picture.safetensors"
        for i, prompt in enumerate(prompts):
            guided = ["--true-cfg", str(true_cfg), "--negative-prompt", ""] if true_cfg > 1 else []
            subprocess.run([para, "generate", folder, "--prompt", prompt, "--seed", str(seed + i), "--steps", str(steps),
                            "--max-sequence-length", str(text_length), "--quiet", "-o", out, *guided], check=True)
            parts.append(load_file(out)["images"].clamp(0, 1))
            print(f"  {i + 1} of {len(prompts)} pictures", flush=True)
    return torch.cat(parts)


def generate(pipeline, prompts, seed, batch, steps, text_length, true_cfg):
    """float32 [n, 3, 256, 256] in 0..1 on the CPU; picture i has seed + i."""
    parts = []
    for at in range(0, len(prompts), batch):
        chunk = prompts[at:at + batch]
        generators = [torch.Generator("cpu").manual_seed(seed + at + i) for i in range(len(chunk))]
        guided = {"true_cfg_scale": true_cfg, "negative_prompt": [""] * len(chunk)} if true_cfg > 1 else {}
        parts.append(pipeline(chunk, height=256, width=256, num_inference_steps=steps, guidance_scale=GUIDANCE,
                              generator=generators, max_sequence_length=text_length, output_type="pt",
                              **guided).images.float().cpu())
        print(f"  {at + len(chunk)} of {len(prompts)} pictures", flush=True)
    return torch.cat(parts)


def background_of(picture, colours):
    """Index of the named colour nearest to the border's median; picture [3, 256, 256]."""
    border = torch.ones(picture.shape[1:], dtype=torch.bool, device=picture.device)
    border[BORDER:-BORDER, BORDER:-BORDER] = False
    median = picture[:, border].median(1).values
    return (colours - median).norm(dim=1).argmin().item()


def emoji_of(picture, combination, composer):
    """The nearest emoji at the combination's place, size, count and background, by both readings:
    (a) mean over its mask of the RGB distance, (b) distance of the mean RGB over its mask."""
    every = [replace(combination, emoji=e) for e in range(composer.num_emoji)]
    places, edge = layout(combination)
    left, above = (min(axis) for axis in zip(*places))
    width, height = (max(axis) + edge - low for axis, low in zip(zip(*places), (left, above)))
    composites, alpha = composer.combinations(every, (left, above, width, height))
    mask = (alpha > 0.5).float()  # (emoji, h, w)
    area = mask.sum((1, 2))
    difference = picture[None, :, above:above + height, left:left + width] - composites
    by_pixel = (difference.norm(dim=1) * mask).sum((1, 2)) / area
    by_mean = ((difference * mask[:, None]).sum((2, 3)) / area[:, None]).norm(dim=1)
    return by_pixel.argmin().item(), by_mean.argmin().item()


def read(pictures, combinations, composer):
    """Shares of right answers, in per cent."""
    right = {"background": 0, "emoji_by_pixel": 0, "emoji_by_mean": 0}
    wrong = []
    for picture, combination in zip(pictures.to(composer.device), combinations):
        background = background_of(picture, composer.colours)
        by_pixel, by_mean = emoji_of(picture, combination, composer)
        right["background"] += background == combination.background
        right["emoji_by_pixel"] += by_pixel == combination.emoji
        right["emoji_by_mean"] += by_mean == combination.emoji
        if background != combination.background or by_pixel != combination.emoji:
            names = emoji_list()
            wrong.append(f"{names[combination.emoji][1][0][0]} on {BACKGROUNDS[combination.background][0]}: read as "
                         f"{names[by_pixel][1][0][0]} on {BACKGROUNDS[background][0]}")
    return {name: 100 * value / len(combinations) for name, value in right.items()}, wrong


def fidelity(pictures, combinations, composer):
    """Mean PSNR in dB against the true pictures: on the emoji, and everywhere."""
    inside, overall = [], []
    for picture, combination in zip(pictures.to(composer.device), combinations):
        truth, alpha = composer.combinations([combination])
        error = (picture - truth[0]).square().mean(0)
        inside.append(-10 * (error[alpha[0] > 0.5].mean() + 1e-10).log10().item())
        overall.append(-10 * (error.mean() + 1e-10).log10().item())
    return sum(inside) / len(inside), sum(overall) / len(overall)


def true_pictures(combinations, composer):
    return torch.cat([composer.combinations([c])[0].cpu() for c in combinations])


def draw(pipeline, options, prompts, seed):
    if options.para:
        return generate_by_program(options.para, options.folder, prompts, seed, options.steps, options.text_length, options.true_cfg)
    return generate(pipeline, prompts, seed, options.batch, options.steps, options.text_length, options.true_cfg)


def measure(pipeline, composer, options):
    rng = random.Random(options.seed)
    combinations = held_out()[:options.number]
    prompts = [caption(c, rng) for c in combinations]
    # Every caption moves to a combination with another emoji.
    shuffled = combinations[1:] + combinations[:1]
    while any(a.emoji == b.emoji for a, b in zip(shuffled, combinations)):
        shuffled = rng.sample(combinations, len(combinations))
    result = {"combinations": len(combinations), "steps": options.steps, "text_length": options.text_length,
              "true_cfg": options.true_cfg}
    result["true"], _ = read(true_pictures(combinations, composer), combinations, composer)
    began = time.time()
    pictures = draw(pipeline, options, prompts, 10000)
    result["seconds"] = time.time() - began
    result["generated"], wrong = read(pictures, combinations, composer)
    result["shuffled"], _ = read(pictures, shuffled, composer)
    result["psnr_emoji"], result["psnr_picture"] = fidelity(pictures, combinations, composer)
    result["wrong"] = wrong
    for count in options.counts:
        several = [with_count(c, count) for c in combinations]
        pictures = draw(pipeline, options, [caption(c, rng) for c in several], 20000 * count)
        result[f"count_{count}"], _ = read(pictures, several, composer)
    return result


def table(results):
    """Rows of the card: what was drawn in each measurement, then what the measure itself can tell apart."""
    lines = []
    for result in results:
        guided = f", true CFG {result['true_cfg']:g}" if result.get("true_cfg", 1) > 1 else ""
        for label, key in (("one emoji", "generated"), ("two of the emoji", "count_2"), ("three of the emoji", "count_3")):
            if key in result:
                lines.append((label + guided, result[key]))
    lines += [("true pictures", results[0]["true"]), ("shuffled captions", results[0]["shuffled"])]
    return "\n".join(f"| {label} | {row['background']:.1f} % | {row['emoji_by_pixel']:.1f} % | {row['emoji_by_mean']:.1f} % |"
                     for label, row in lines)


def write_card(folder, results, pipeline):
    result = results[0]
    def parameters(part):
        return f"{sum(p.numel() for p in part.parameters()):,}"

    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.name != "README.md")
    text = (Path(__file__).parent / "model_card.md").read_text(encoding="utf-8").format(
        rows=table(results), combinations=result["combinations"], steps=result["steps"], text_length=result["text_length"],
        psnr_emoji=result["psnr_emoji"], psnr_picture=result["psnr_picture"], guidance=GUIDANCE, emoji=len(emoji_list()),
        backgrounds=", ".join(name for name, _, _ in BACKGROUNDS), mib=size / 2**20,
        transformer=parameters(pipeline.transformer), vae=parameters(pipeline.vae), clip=parameters(pipeline.text_encoder),
        t5=parameters(pipeline.text_encoder_2), clip_vocabulary=len(pipeline.tokenizer), t5_vocabulary=len(pipeline.tokenizer_2),
        names=", ".join(names[0][0] for _, names in emoji_list()))
    (folder / "README.md").write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("models/tiny-flux"))
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--text-length", type=int, default=512, help="max_sequence_length; 512 is FluxPipeline's default")
    parser.add_argument("--true-cfg", type=float, default=2.0, help="guidance away from the empty prompt; 1: none")
    parser.add_argument("--para", type=Path, help="draw with this program instead of diffusers")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--counts", type=int, nargs="*", default=[], choices=[2, 3], help="measure these counts too")
    parser.add_argument("--seed", type=int, default=0, help="of the captions' wording")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--sheet", type=Path, help="draw the contact sheet here, for instance docs/tiny-flux.png")
    parser.add_argument("--sheet-only", action="store_true")
    parser.add_argument("--card", type=Path, nargs="*", help="write the folder's README.md with the figures; of these JSON files, "
                        "without measuring, where any are named")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipeline = FluxPipeline.from_pretrained(options.folder, torch_dtype=torch.float32).to(device)
    pipeline.set_progress_bar_config(disable=True)
    if options.sheet:
        draw_sheet(lambda prompts: draw(pipeline, options, prompts, 500), options.sheet)
    if options.card:
        write_card(options.folder, [json.loads(path.read_text()) for path in options.card], pipeline)
    if options.sheet_only or options.card:
        return
    result = measure(pipeline, Composer(device), options)
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")
    if options.card is not None:
        write_card(options.folder, [result], pipeline)


if __name__ == "__main__":
    main()
