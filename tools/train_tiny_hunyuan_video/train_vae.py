"""Stage one: the autoencoder. L1, L2, L1 of the gradients, structural similarity, more of each on the emoji; a small KL term."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders import autoencoder_kl_hunyuan_video as of_diffusers

import shared  # noqa: F401
import run_state
from flat import Flat
from graphed import Graphed
from loop import train_until
from losses import dissimilarity, gradients
from models import TAIL, make_vae
from motions import EDGE, trained_on
from networks import parameters
from videos import Renderer

KL_WEIGHT = 5e-4
ON_EMOJI = 8.0  # how much more a pixel of an emoji counts than one of the background
TAIL_WEIGHT = 0.25


class Replicated(torch.autograd.Function):
    """F.pad(..., mode="replicate") with a backward without atomic sums: the edges' gradients are added where they came from."""

    @staticmethod
    def forward(context, x, padding):
        context.padding = padding
        return F.pad(x, padding, mode="replicate")

    @staticmethod
    def backward(context, gradient):
        for axis, (before, after) in enumerate(zip(context.padding[::2], context.padding[1::2])):
            axis, size = gradient.ndim - 1 - axis, gradient.shape[-1 - axis]
            if before:
                gradient.select(axis, before).add_(gradient.narrow(axis, 0, before).sum(axis))
            if after:
                gradient.select(axis, size - 1 - after).add_(gradient.narrow(axis, size - after, after).sum(axis))
            gradient = gradient.narrow(axis, before, size - before - after)
        return gradient, None


def pad_and_convolve(self, x):
    """HunyuanVideoCausalConv3d's forward."""
    x = Replicated.apply(x, tuple(self.time_causal_padding)) if any(self.time_causal_padding) else x
    return self.conv(x.contiguous(memory_format=torch.channels_last_3d))  # a little faster on an H200, op by op 90 ms a step against 93


def mean_with(weight, x):
    return (weight * x).mean() / weight.mean()


def compare(out, target, weight):
    """videos [n, 3, f, h, w] in -1..1, weight [n, 1, f, h, w]"""
    difference = out - target
    gradient = sum((a - b).abs().mean() for a, b in zip(gradients(out), gradients(target)))
    frames = [v.transpose(1, 2).flatten(0, 1) for v in (out, target)]
    return mean_with(weight, difference.abs() + difference.square()) + gradient + 0.1 * dissimilarity(*frames)


def reconstruct(vae, videos):
    """As the pipeline decodes: in float32, with diffusers' cuts in time. videos in 0..1."""
    return (vae.decode(vae.encode(videos * 2 - 1).latent_dist.mode()).sample + 1) / 2


def psnr(vae, renderer, combinations):
    """dB on the emoji themselves (alpha > 0.5) and on the whole video, of values clamped to 0..1."""
    inside, overall, area, count = 0.0, 0.0, 0.0, 0
    with torch.no_grad():
        for at in range(0, len(combinations), 4):
            videos, alpha = renderer.combinations(combinations[at:at + 4])
            error = (reconstruct(vae, videos).clamp(0, 1) - videos).square().mean(1)
            inside += (error * (alpha > 0.5)).sum().item()
            area += (alpha > 0.5).sum().item()
            overall += error.sum().item()
            count += error.numel()
    return -10 * math.log10(inside / area), -10 * math.log10(overall / count)


def normalise(vae, renderer, combinations):
    """Makes the latents of true videos have mean 0 and deviation 1 in each channel, which the pipeline has no setting for: quant_conv
    does it, post_quant_conv undoes it. Returns what they were."""
    with torch.no_grad():
        z = torch.cat([vae.encode(renderer.combinations(combinations[at:at + 4])[0] * 2 - 1).latent_dist.mode()
                       for at in range(0, len(combinations), 4)])
        mean, std = z.mean((0, 2, 3, 4)), z.std((0, 2, 3, 4)).clamp(min=1e-3)
        c = len(mean)
        weight, bias = vae.quant_conv.weight, vae.quant_conv.bias
        weight[:c] /= std[:, None, None, None, None]
        bias[:c] = (bias[:c] - mean) / std
        bias[c:] -= 2 * std.log()
        weight, bias = vae.post_quant_conv.weight, vae.post_quant_conv.bias
        bias += weight[..., 0, 0, 0] @ mean
        weight *= std[None, :, None, None, None]
    return mean, std


def train(worker, state_folder, end, lr, batch, part_batch, part, whole_from, compiled, graphs, measured):
    """Trains until the clock (time.time()) reads `end`; then normalises the latents, and measures the PSNR on `measured` combinations.
    part: edge of the parts of videos that are seen first, part_batch of them at once; from whole_from of the schedule on videos are seen
    whole, with the statistics that the norms then have."""
    torch.manual_seed(1)
    of_diffusers.HunyuanVideoCausalConv3d.forward = pad_and_convolve
    of_diffusers.prepare_causal_attention_mask = lru_cache(of_diffusers.prepare_causal_attention_mask)  # it copies from the host
    vae = make_vae().to(worker.device)
    path = state_folder / "vae.pt"
    start = 0.0
    if path.exists():
        state = run_state.load(path)
        vae.load_state_dict(state["weights"])
        start = state["progress"] if state["progress"] < 1 else whole_from  # a finished one is refined
        worker.say(f"vae: goes on from {path}, {start:.1%} of the schedule")
    flat = Flat(vae, 0.998)
    worker.say(f"vae: {parameters(vae)} parameters")
    renderer = Renderer(worker.device)
    generator = torch.Generator(worker.device).manual_seed(1000 + worker.rank + int(end) % 1000)
    if compiled:
        vae.encoder.compile(dynamic=False)
        vae.decoder.compile(dynamic=False)

    def losses(videos, alpha):
        target = videos * 2 - 1
        weight = 1 + ON_EMOJI * F.max_pool2d(alpha, 3, 1, 1)[:, None]
        with worker.autocast(cache=False):
            mean, logvar = vae.quant_conv(vae.encoder(target)).float().chunk(2, 1)
            logvar = logvar.clamp(-30, 20)
            z = vae.post_quant_conv(mean + (0.5 * logvar).exp() * torch.randn_like(mean))
            out, tail = vae.decoder(z).float(), vae.decoder(z[:, :, TAIL:])[:, :, 1:].float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        loss = compare(out, target, weight)
        last = slice(-tail.shape[2], None)
        tail_loss = compare(tail, target[:, :, last], weight[:, :, last])
        return loss + TAIL_WEIGHT * tail_loss + KL_WEIGHT * kl, loss, tail_loss, kl

    graphed = Graphed(losses, flat.zero_gradient) if graphs else losses

    def loss_of(step, progress):
        whole = progress >= whole_from
        loss, *parts = graphed(*renderer.random(batch if whole else part_batch, generator, EDGE if whole else part))
        return loss, dict(zip(("whole", "tail", "kl"), parts))

    def rate_of(step, progress):
        return lr * min(1, (step + 1) / 100) * min(1, (1 - progress) / 0.6 + 0.01)

    def save(step, progress):
        run_state.save({"weights": vae.state_dict(), "progress": progress}, path)

    step = train_until(end, worker, flat, "vae", loss_of, rate_of, start=start, save=save)
    if worker.chief:
        flat.use_average()
        weights = {k: v.detach().cpu().contiguous() for k, v in vae.state_dict().items()}
        vae = make_vae()  # as users have it, not compiled
        vae.load_state_dict(weights)
        vae.to(worker.device).eval()
        combinations = trained_on(measured)
        mean, std = normalise(vae, renderer, combinations)
        inside, overall = psnr(vae, renderer, combinations)
        weights = {k: v.detach().cpu().contiguous() for k, v in vae.state_dict().items()}
        run_state.save({"weights": weights, "progress": 1.0, "psnr_emoji": inside, "psnr_video": overall}, path)
        worker.say(f"vae: {step} steps; PSNR {inside:.2f} dB on emoji, {overall:.2f} dB on videos; latents were "
                   f"{[round(v, 3) for v in mean.tolist()]} +- {[round(v, 3) for v in std.tolist()]}")


def load_vae(state_folder, device):
    state = run_state.load(state_folder / "vae.pt")
    if state["progress"] < 1:
        raise SystemExit("the autoencoder's training broke off; run train.py vae again")
    vae = make_vae()
    vae.load_state_dict(state["weights"])
    return vae.to(device).eval(), state
