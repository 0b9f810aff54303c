"""Stage two: the transformer with its text encoders. Rectified flow on the cached latents."""

import time

import torch
from transformers import CLIPTokenizer, T5TokenizerFast

import shared  # noqa: F401
import run_state
from data import LONG_TEXT, SHORT_TEXT, Captioned, describe
from flat import Averaged, Flat
from flow import draw_guidance, draw_sigma
from loop import train_until
from models import Denoiser
from networks import parameters
from pictures import Composer
from train_vae import load_vae

SHIFT = 1.65  # exp(base_shift): where the pipeline's dynamic shifting puts 256 image tokens
FLAT_UNTIL = 0.35  # share of the run at the full learning rate; from there it falls in a line to nothing
GUIDANCE = 3.5
DEFAULT_LR = 0.002


def long_text(step, progress):
    """Whether this step pads the text to 512 tokens: seldom at first, three steps in ten at the end. The same on all workers."""
    share = 0.1 if progress < 0.5 else 0.3
    return (step * 0.6180339887) % 1 < share


def flow_loss(denoiser, worker, batch, generator):
    latents, clip, t5 = batch
    n = len(latents)
    noise = torch.randn(latents.shape, device=worker.device, generator=generator)
    sigma = draw_sigma(n, SHIFT, worker.device, generator)
    guidance = draw_guidance(n, GUIDANCE, 7, worker.device, generator)
    noisy = (1 - sigma[:, None, None]) * latents + sigma[:, None, None] * noise
    with worker.autocast():
        velocity = denoiser(noisy, sigma, guidance, clip, t5)
    return (velocity.float() - (noise - latents)).square().mean()


def check(denoiser, worker, captioned, text_length, batches, n):
    """Loss on fixed draws, so that runs can be compared. It runs as training does, lest the blocks be compiled again."""
    generator = torch.Generator(worker.device).manual_seed(99)
    losses = [flow_loss(denoiser, worker, captioned.draw(n, text_length, generator, 0.0), generator).detach()
              for _ in range(batches)]
    return torch.stack(losses).mean().item()


def prepare(worker, folder, state_folder, phrasings, limit, compiled):
    torch.manual_seed(2)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    tokenizer_2 = T5TokenizerFast.from_pretrained(folder / "tokenizer_2")
    vae, _ = load_vae(state_folder, worker.device)
    began = time.time()
    captioned = Captioned(worker, vae, Composer(worker.device), tokenizer, tokenizer_2, phrasings, limit)
    spread = captioned.latents.float().std().item()
    worker.say(f"data: {describe()}; {len(captioned.combinations)} on this worker, latents' spread {spread:.3f}, "
               f"{time.time() - began:.0f} s")
    denoiser = Denoiser(tokenizer, tokenizer_2).to(worker.device)
    if compiled:
        torch._dynamo.config.recompile_limit = 32  # two text lengths, two strides of the first single block's input
        denoiser.transformer.compile_repeated_blocks(fullgraph=True, dynamic=False)
    worker.say(", ".join(f"{name} {parameters(module)}" for name, module in denoiser.named_children()), "parameters")
    return denoiser, captioned


def train(worker, folder, state_folder, end, until, lr, batch, compiled, phrasings=5, limit=None, name="dit"):
    """Trains until the clock (time.time()) reads `end`, which is where the schedule stands at `until` (1: its end).
    lr None: that of the run that goes on, else DEFAULT_LR."""
    denoiser, captioned = prepare(worker, folder, state_folder, phrasings, limit, compiled)
    flat = Flat(denoiser, 0.999)
    path = state_folder / f"{name}.pt"
    step, start = 0, 0.0
    if path.exists():
        state = run_state.load(path)
        flat.load(state["flat"])
        step, start = state["step"], state["progress"]
        lr = lr or state["lr"]
        worker.say(f"{name}: goes on from step {step}, {start:.1%} of the schedule")
    lr = lr or DEFAULT_LR
    generator = torch.Generator(worker.device).manual_seed(5000 + 97 * worker.rank + step)
    denoiser.train()

    def loss_of(step, progress):
        text_length = LONG_TEXT if long_text(step, progress) else SHORT_TEXT
        return flow_loss(denoiser, worker, captioned.draw(batch, text_length, generator), generator), {}

    def rate_of(step, progress):
        return lr * min(1, (step + 1) / 300) * min(1, max(0.01, (1 - progress) / (1 - FLAT_UNTIL)))

    def save(step, progress):
        run_state.save({"flat": flat.state(), "step": step, "progress": progress, "lr": lr}, path)

    step = train_until(end, worker, flat, name, loss_of, rate_of, step, start, until, save)
    with Averaged(flat):
        result = {length: check(denoiser, worker, captioned, length, 8, batch) for length in (SHORT_TEXT, LONG_TEXT)}
        weights = {k: {n: v.detach().half().cpu().contiguous() for n, v in m.state_dict().items()}
                   for k, m in denoiser.named_children()}
    worker.say(f"{name}: step {step}, lr {lr}, loss of the average by text tokens", result)
    if worker.chief:
        save(step, until)
        run_state.save({"weights": weights, "step": step, "loss": result}, state_folder / f"{name}-average.pt")
    return result[SHORT_TEXT]
