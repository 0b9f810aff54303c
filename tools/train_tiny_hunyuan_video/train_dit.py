"""Stage two: the transformer with its text encoders. Rectified flow on the cached latents."""

import time

import torch
from transformers import CLIPTokenizer, PreTrainedTokenizerFast

import shared  # noqa: F401
import run_state
from data import Captioned
from flat import Averaged, Flat
from flow import draw_guidance, draw_sigma
from graphed import GraphedModule
from loop import train_until
from models import Denoiser, Unmasked
from networks import parameters
from train_vae import load_vae
from videos import Renderer

SHIFT = 3.0  # the scheduler's, too
FLAT_UNTIL = 0.35  # share of the run at the full learning rate; from there it falls in a line to nothing
GUIDANCE = 6.0  # the pipeline's default
DEFAULT_LR = 0.002


def load_tokenizers(folder):
    return PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer"), CLIPTokenizer.from_pretrained(folder / "tokenizer_2")


def flow_loss(denoiser, worker, batch, generator):
    latents, llama_ids, clip_ids = batch
    n = len(latents)
    noise = torch.randn(latents.shape, device=worker.device, generator=generator)
    sigma = draw_sigma(n, SHIFT, worker.device, generator)
    guidance = draw_guidance(n, GUIDANCE, 10, worker.device, generator)
    s = sigma.view(n, 1, 1, 1, 1)
    with worker.autocast(cache=False):
        velocity = denoiser((1 - s) * latents + s * noise, sigma, guidance, llama_ids, clip_ids)
    return (velocity.float() - (noise - latents)).square().mean()


@torch.no_grad()
def check(denoiser, worker, captioned, batches, n):
    """Loss on fixed draws, so that runs can be compared."""
    generator = torch.Generator(worker.device).manual_seed(99)
    captioned.choice.manual_seed(99)
    return torch.stack([flow_loss(denoiser, worker, captioned.draw(n, generator), generator) for _ in range(batches)]).mean().item()


def train(worker, folder, state_folder, end, until, lr, batch, compiled, graphs, places, phrasings, spinning, limit=None):
    """Trains until the clock (time.time()) reads `end`, which is where the schedule stands at `until` (1: its end).
    lr None: that of the run that goes on, else DEFAULT_LR."""
    torch.manual_seed(2)
    tokenizer, tokenizer_2 = load_tokenizers(folder)
    vae, _ = load_vae(state_folder, worker.device)
    began = time.time()
    captioned = Captioned(worker, vae, Renderer(worker.device), tokenizer, tokenizer_2, places, phrasings, spinning, limit)
    worker.say(f"data: {captioned.describe()}, {time.time() - began:.0f} s")
    denoiser = Denoiser(tokenizer, tokenizer_2).to(worker.device)
    worker.say(", ".join(f"{name} {parameters(module)}" for name, module in denoiser.named_children()), "parameters")
    if compiled:
        torch._dynamo.config.recompile_limit = 64  # one for each length of text
        denoiser.transformer.compile_repeated_blocks(fullgraph=True)
    elif graphs:
        denoiser.run = GraphedModule(lambda: Unmasked(denoiser.transformer))
    flat = Flat(denoiser, 0.999)
    path = state_folder / "dit.pt"
    step, start = 0, 0.0
    if path.exists():
        state = run_state.load(path)
        flat.load(state["flat"])
        step, start = state["step"], state["progress"]
        lr = lr or state["lr"]
        worker.say(f"dit: goes on from step {step}, {start:.1%} of the schedule")
    lr = lr or DEFAULT_LR
    generator = torch.Generator(worker.device).manual_seed(5000 + 97 * worker.rank + step)
    denoiser.train()

    def loss_of(step, progress):
        return flow_loss(denoiser, worker, captioned.draw(batch, generator), generator), {}

    def rate_of(step, progress):
        return lr * min(1, (step + 1) / 300) * min(1, max(0.01, (1 - progress) / (1 - FLAT_UNTIL)))

    def save(step, progress):
        run_state.save({"flat": flat.state(), "step": step, "progress": progress, "lr": lr}, path)

    step = train_until(end, worker, flat, "dit", loss_of, rate_of, step, start, until, save)
    with Averaged(flat):
        loss = check(denoiser, worker, captioned, 8, batch)
        weights = {k: {n: v.detach().half().cpu().contiguous() for n, v in m.state_dict().items()} for k, m in denoiser.named_children()}
    worker.say(f"dit: step {step}, lr {lr}, batches of {batch}, loss of the average {loss:.4f}")
    if worker.chief:
        save(step, until)
        run_state.save({"weights": weights, "step": step, "batch": batch * worker.world, "loss": loss}, state_folder / "dit-average.pt")
