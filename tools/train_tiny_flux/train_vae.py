"""Stage one: the autoencoder, on emoji pasted anywhere. L1, L1 of the gradients, structural similarity, a small KL term."""

import math
import time

import torch
import torch.nn.functional as F

import run_state
from flat import Flat
from models import make_vae, parameters
from pictures import Composer

KL_WEIGHT = 2e-4


def gradients(picture):
    return picture[..., 1:, :] - picture[..., :-1, :], picture[..., :, 1:] - picture[..., :, :-1]


def dissimilarity(a, b):
    """1 - SSIM of pictures in -1..1 over 7 x 7 windows, mean."""
    def mean(x):
        return F.avg_pool2d(x, 7, 1)

    ma, mb = mean(a), mean(b)
    va, vb, vab = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    return 1 - (((2 * ma * mb + c1) * (2 * vab + c2)) / ((ma * ma + mb * mb + c1) * (va + vb + c2))).mean()


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

    def loss_of(pictures):
        target = pictures * 2 - 1
        with worker.autocast():
            posterior = vae.encode(target).latent_dist
            out = vae.decode(posterior.mode() + posterior.std * torch.randn_like(posterior.mean)).sample.float()
        gradient = sum((a - b).abs().mean() for a, b in zip(gradients(out), gradients(target)))
        mean, logvar = posterior.mean.float(), posterior.logvar.float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        l1, l2 = (out - target).abs().mean(), (out - target).square().mean()
        return l1 + l2 + 0.5 * gradient + 0.1 * dissimilarity(out, target) + KL_WEIGHT * kl, l1, kl

    if compiled:
        vae.encoder.compile(dynamic=False)
        vae.decoder.compile(dynamic=False)
    step, told, told_step, progress = 0, time.time(), 0, 0.0
    while True:
        if step % 10 == 0:
            progress = worker.agree((time.time() - began) / (end - began))
        if progress >= 1:
            break
        pictures, _ = composer.random(batch, generator)
        if worker.device.type == "cuda":
            pictures = pictures.contiguous(memory_format=torch.channels_last)
        flat.zero_gradient()
        loss, l1, kl = loss_of(pictures)
        loss.backward()
        norm = flat.step(lr * min(1, (step + 1) / 100) * min(1, (1 - progress) / 0.6 + 0.01))
        step += 1
        if time.time() - told > 15:
            worker.say(f"vae {progress:5.1%} step {step} loss {loss.item():.4f} l1 {l1.item():.4f} kl {kl.item():.3f} "
                       f"grad {norm.item():.3f} {(step - told_step) / (time.time() - told):.1f} steps/s")
            told, told_step = time.time(), step
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
