"""Stage one: the autoencoder, on emoji pasted anywhere. L1, L1 of the gradients, structural similarity, a small KL term."""

import math
import time

import torch

import shared  # noqa: F401
import run_state
from flat import Flat
from loop import train_until
from losses import dissimilarity, gradients
from models import make_vae
from networks import parameters
from pictures import Composer

KL_WEIGHT = 2e-4


def psnr(vae, composer, worker, pictures=64):
    """dB on the emoji themselves (alpha > 0.5) and on the whole picture, of values clamped to 0..1."""
    generator = torch.Generator(worker.device).manual_seed(77)
    inside, overall, count = 0.0, 0.0, 0
    with torch.no_grad():
        for _ in range(pictures // 16):
            picture, alpha = composer.random(16, generator)
            z = vae.encode(picture * 2 - 1).latent_dist.mode()
            error = (((vae.decode(z).sample + 1) / 2).clamp(0, 1) - picture).square().mean(1)
            inside += (error * (alpha > 0.5)).sum().item() / (alpha > 0.5).sum().item()
            overall += error.mean().item()
            count += 1
    return -10 * math.log10(inside / count), -10 * math.log10(overall / count)


def latent_statistics(vae, composer, combinations):
    """Mean and standard deviation over all values of the latents of true pictures."""
    parts = []
    with torch.no_grad():
        for at in range(0, len(combinations), 32):
            picture, _ = composer.combinations(combinations[at:at + 32])
            parts.append(vae.encode(picture * 2 - 1).latent_dist.mode().float().cpu())
    z = torch.cat(parts)
    return z.mean().item(), z.std().item(), z.std(dim=(0, 2, 3))


def train(worker, state_folder, end, lr, batch, compiled, statistics_on):
    """Trains until the clock (time.time()) reads `end`; then measures the latents, and the PSNR."""
    began = time.time()
    torch.manual_seed(1)
    vae = make_vae().to(worker.device)
    if worker.device.type == "cuda":
        vae = vae.to(memory_format=torch.channels_last)
    path = state_folder / "vae.pt"
    if path.exists():
        vae.load_state_dict(run_state.load(path)["weights"])
        worker.say("vae: goes on from", path)
    flat = Flat(vae, 0.998)
    worker.say(f"vae: {parameters(vae)} parameters, {end - began:.0f} s")
    composer = Composer(worker.device)
    generator = torch.Generator(worker.device).manual_seed(1000 + worker.rank + int(began) % 1000)

    def loss_on(pictures):
        target = pictures * 2 - 1
        with worker.autocast():
            posterior = vae.encode(target).latent_dist
            out = vae.decode(posterior.mode() + posterior.std * torch.randn_like(posterior.mean)).sample.float()
        gradient = sum((a - b).abs().mean() for a, b in zip(gradients(out), gradients(target)))
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        l1, l2 = (out - target).abs().mean(), (out - target).square().mean()
        return l1 + l2 + 0.5 * gradient + 0.1 * dissimilarity(out, target) + KL_WEIGHT * kl, {"l1": l1, "kl": kl}

    if compiled:
        vae.encoder.compile(dynamic=False)
        vae.decoder.compile(dynamic=False)

    def loss_of(step, progress):
        pictures, _ = composer.random(batch, generator)
        if worker.device.type == "cuda":
            pictures = pictures.contiguous(memory_format=torch.channels_last)
        return loss_on(pictures)

    def rate_of(step, progress):
        return lr * min(1, (step + 1) / 100) * min(1, (1 - progress) / 0.6 + 0.01)

    step = train_until(end, worker, flat, "vae", loss_of, rate_of)
    if worker.chief:
        flat.use_average()
        weights = {k: v.detach().cpu().contiguous() for k, v in vae.state_dict().items()}
        vae = make_vae()  # as users have it, not compiled
        vae.load_state_dict(weights)
        vae.to(worker.device).eval()
        mean, std, channels = latent_statistics(vae, composer, statistics_on)
        inside, overall = psnr(vae, composer, worker)
        run_state.save({"weights": weights, "scaling_factor": 1 / std, "shift_factor": mean, "psnr_emoji": inside,
                        "psnr_picture": overall}, path)
        worker.say(f"vae: {step} steps; PSNR {inside:.2f} dB on emoji, {overall:.2f} dB on pictures; latents {mean:.4f} +- "
                   f"{std:.4f}, channels {[round(v, 3) for v in channels.tolist()]}")


def load_vae(state_folder, device):
    state = run_state.load(state_folder / "vae.pt")
    vae = make_vae()
    vae.load_state_dict(state["weights"])
    vae.register_to_config(scaling_factor=state["scaling_factor"], shift_factor=state["shift_factor"])
    return vae.to(device).eval(), state
