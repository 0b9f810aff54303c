"""Measures a tiny-hunyuan-video folder and draws its contact sheet and model card.

On 100 combinations held out of training: does the video move as the prompt says (read_motion.py), is the background's colour right, and is
the video nearest to that emoji's own among those of all emoji with the same motion and background? The same on true videos and with shuffled
captions shows what the measure can tell apart; --true does that alone, for all combinations, and needs no model.
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
from diffusers import HunyuanVideoPipeline
from safetensors.torch import load_file

import shared  # noqa: F401
from motions import BACKGROUNDS, EDGE, EMOJI, FRAMES, JITTER, MOTIONS, all_combinations, caption, held_out, plain_caption
from read_motion import NOTHING, foreground, read
from sheet import draw_sheet
from videos import Renderer

STEPS = 20
GUIDANCE = 6.0
MOST_TEXT = 64  # max_sequence_length; longer text is cut, padding is dropped, so it changes no video


def generate_by_program(para, folder, prompts, seed, steps):
    """The same videos by para, which draws what diffusers draws."""
    parts = []
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "video.safetensors"
        for i, prompt in enumerate(prompts):
            subprocess.run([para, "generate", folder, "--prompt", prompt, "--seed", str(seed + i), "--steps", str(steps), "--frames",
                            str(FRAMES), "--width", str(EDGE), "--height", str(EDGE), "--guidance", str(GUIDANCE), "--quiet", "-o", out],
                           check=True)
            parts.append(load_file(out)["frames"].transpose(1, 2).clamp(0, 1))
            print(f"  {i + 1} of {len(prompts)} videos", flush=True)
    return torch.cat(parts)


def generate(pipeline, prompts, seed, batch, steps):
    """float32 [n, 3, 17, 128, 128] in 0..1 on the CPU; video i has seed + i."""
    parts = []
    for at in range(0, len(prompts), batch):
        chunk = prompts[at:at + batch]
        generators = [torch.Generator("cpu").manual_seed(seed + at + i) for i in range(len(chunk))]
        frames = pipeline(chunk, height=EDGE, width=EDGE, num_frames=FRAMES, num_inference_steps=steps, guidance_scale=GUIDANCE,
                          generator=generators, max_sequence_length=MOST_TEXT, output_type="pt").frames
        parts.append(frames.float().cpu().transpose(1, 2))
        print(f"  {at + len(chunk)} of {len(prompts)} videos", flush=True)
    return torch.cat(parts)


def emoji_of(video, combination, renderer):
    """The emoji whose true video, in the middle, is nearest on the pixels where any of the two shows something."""
    best, found = None, None
    for emoji in range(len(EMOJI)):
        truth, alpha = renderer.combinations([replace(combination, emoji=emoji)])
        difference = (video - truth[0]).square().sum(0)
        wrong = difference.sum().item()
        if best is None or wrong < best:
            best, found = wrong, emoji
    return found


def read_all(videos, combinations, renderer, emoji_too=True):
    """[(motion or None, background, emoji)] of each video"""
    out = []
    for video, combination in zip(videos, combinations):
        video = video.to(renderer.device)
        motion, _ = read(video)
        background = (renderer.colours - foreground(video)[0]).norm(dim=1).argmin().item()
        out.append((motion, background, emoji_of(video, combination, renderer) if emoji_too else None))
    return out


def shares(readings, combinations):
    """How many are right, in per cent; the emoji's is None where it was not read."""
    def share(right):
        return 100 * sum(right) / len(combinations)

    return {"motion": share(r[0] == c.motion for r, c in zip(readings, combinations)),
            "background": share(r[1] == c.background for r, c in zip(readings, combinations)),
            "emoji": None if readings[0][2] is None else share(r[2] == c.emoji for r, c in zip(readings, combinations))}


def described(readings, combinations):
    """Those that are wrong, in words."""
    return [f"{c}: read as {EMOJI[e] if e is not None else '-'}, {BACKGROUNDS[b]}, {MOTIONS[m] if m is not None else 'no motion'}"
            for (m, b, e), c in zip(readings, combinations)
            if m != c.motion or b != c.background or (e is not None and e != c.emoji)]


def true_videos(combinations, renderer, seed=5):
    """One after the other, each in a place of its own."""
    generator = torch.Generator(renderer.device).manual_seed(seed)
    for combination in combinations:
        yield renderer.combinations([combination], renderer.jitter(1, generator))[0][0]


def shuffled(combinations, seed=6):
    out = list(combinations)
    random.Random(seed).shuffle(out)
    return out


def measure_truth(renderer, combinations, emoji_too):
    readings = read_all(true_videos(combinations, renderer), combinations, renderer, emoji_too)
    return {"true": shares(readings, combinations), "shuffled": shares(readings, shuffled(combinations)),
            "wrong": described(readings, combinations)}


def measure(draw, renderer, options):
    rng = random.Random(options.seed)
    combinations = held_out()[:options.number]
    began = time.time()
    videos = draw([caption(c, rng) for c in combinations], 10000)
    result = {"combinations": len(combinations), "steps": options.steps, "seconds": time.time() - began,
              "by": "para" if options.para else "diffusers"}
    readings = read_all(videos, combinations, renderer)
    result["drawn"], result["wrong"] = shares(readings, combinations), described(readings, combinations)
    result["shuffled"] = shares(readings, shuffled(combinations))
    result["true"] = measure_truth(renderer, combinations, True)["true"]
    return result


def table(result):
    rows = (("held-out combinations, drawn", "drawn"), ("true videos of them", "true"), ("drawn, captions shuffled", "shuffled"))
    return "\n".join(f"| {label} | {result[key]['motion']:.1f} % | {result[key]['background']:.1f} % | {result[key]['emoji']:.1f} % |"
                     for label, key in rows)


def write_card(folder, result, pipeline):
    def parameters(part):
        return f"{sum(p.numel() for p in part.parameters()):,}"

    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.name != "README.md")
    text = (Path(__file__).parent / "model_card.md").read_text(encoding="utf-8").format(
        rows=table(result), combinations=result["combinations"], held_out=len(held_out()),
        all=len(all_combinations()), steps=result["steps"], by=result["by"],
        guidance=f"{GUIDANCE:g}", nothing=f"{100 * NOTHING:.0f}", jitter=JITTER, emoji=", ".join(EMOJI), backgrounds=", ".join(BACKGROUNDS),
        mib=size / 2**20, example=plain_caption(held_out()[0]), transformer=parameters(pipeline.transformer), vae=parameters(pipeline.vae),
        llama=parameters(pipeline.text_encoder), clip=parameters(pipeline.text_encoder_2), llama_vocabulary=len(pipeline.tokenizer),
        clip_vocabulary=len(pipeline.tokenizer_2))
    (folder / "README.md").write_text(text, encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("models/tiny-hunyuan-video"))
    parser.add_argument("--number", type=int, help="only so many combinations")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--para", type=Path, help="draw with this program instead of diffusers")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0, help="of the captions' wording")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--sheet", type=Path, help="draw the contact sheet here, for instance docs/tiny-hunyuan-video.png")
    parser.add_argument("--sheet-only", action="store_true")
    parser.add_argument("--card", action="store_true", help="write the folder's README.md with the figures")
    parser.add_argument("--figures", type=Path, help="take the card's figures from this file of an earlier --json, without measuring")
    parser.add_argument("--true", action="store_true", help="only what the measure says of true videos, of all combinations or --number")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.allow_tf32 = False  # float32 it says
    renderer = Renderer(device)
    if options.true:
        print(json.dumps(measure_truth(renderer, shuffled(all_combinations())[:options.number], False), indent=1))
        return
    pipeline = HunyuanVideoPipeline.from_pretrained(options.folder, torch_dtype=torch.float32).to(device)
    pipeline.set_progress_bar_config(disable=True)

    def draw(prompts, seed):
        if options.para:
            return generate_by_program(options.para, options.folder, prompts, seed, options.steps)
        return generate(pipeline, prompts, seed, options.batch, options.steps)

    if options.sheet:
        draw_sheet(lambda prompts: draw(prompts, 500), options.sheet)
        if options.sheet_only:
            return
    result = json.loads(options.figures.read_text()) if options.figures else measure(draw, renderer, options)
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    if options.card:
        write_card(options.folder, result, pipeline)


if __name__ == "__main__":
    main()
