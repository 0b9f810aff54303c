"""All of a module's parameters, gradients, their average and AdamW's moments as five flat vectors: one all-reduce, one
optimiser kernel and one file section each."""

import torch
import torch.distributed as dist


class Flat:
    def __init__(self, module, ema_decay):
        parameters = list(module.parameters())
        self.ema_decay = ema_decay
        self.value = torch.cat([p.detach().reshape(-1).float() for p in parameters])
        self.gradient = torch.zeros_like(self.value)
        at = 0
        for parameter in parameters:
            part = slice(at, at + parameter.numel())
            parameter.data = self.value[part].view(parameter.shape)
            parameter.grad = self.gradient[part].view(parameter.shape)
            at += parameter.numel()
        self.parameters = parameters
        self.vector = torch.nn.Parameter(self.value)
        self.vector.grad = self.gradient
        self.average = self.value.clone()
        fused = self.value.is_cuda
        self.optimizer = torch.optim.AdamW([self.vector], lr=1e-3, betas=(0.9, 0.99), weight_decay=0.01, fused=fused)
        self.updates = 0
        # Kept on the device, so that no step waits for the host: updates left out, and the usual gradient norm.
        self.skipped = torch.zeros((), device=self.value.device)
        self.typical_norm = torch.zeros((), device=self.value.device)
        if dist.is_initialized():
            dist.broadcast(self.value, 0)
            self.average.copy_(self.value)

    def zero_gradient(self):
        self.gradient.zero_()

    def step(self, lr, clip=1.0):
        """One update; a gradient that is not finite, or far out of line, counts as zero. Returns the norm, on the device."""
        if dist.is_initialized():
            dist.all_reduce(self.gradient, op=dist.ReduceOp.AVG if self.gradient.is_cuda else dist.ReduceOp.SUM)
            if not self.gradient.is_cuda:
                self.gradient.div_(dist.get_world_size())
        norm = self.gradient.norm()
        usable = norm.isfinite()
        if self.updates > 100:
            usable &= norm < 30 * self.typical_norm
        self.skipped += ~usable
        kept = torch.where(usable, norm, self.typical_norm)
        self.typical_norm = kept if self.updates == 0 else 0.98 * self.typical_norm + 0.02 * kept
        self.gradient.nan_to_num_(0, 0, 0).mul_(torch.where(usable, (clip / norm).clamp(max=1), 0))
        self.optimizer.param_groups[0]["lr"] = lr
        self.optimizer.step()
        self.updates += 1
        # A young average forgets faster, so that the first weights do not linger.
        decay = min(self.ema_decay, (1 + self.updates) / (10 + self.updates))
        self.average.lerp_(self.vector.detach(), 1 - decay)
        return norm

    def state(self):
        moments = self.optimizer.state.get(self.vector, {})
        return {"value": self.vector.detach().cpu(), "average": self.average.half().cpu(), "updates": self.updates,
                "typical_norm": self.typical_norm.item(),
                "moments": {k: v.bfloat16().cpu() if v.ndim else v.cpu() for k, v in moments.items()}}

    def load(self, state):
        with torch.no_grad():
            self.vector.copy_(state["value"])
            self.average.copy_(state["average"])
        self.updates = state["updates"]
        self.typical_norm.fill_(state["typical_norm"])
        if state["moments"]:
            device = self.vector.device
            self.optimizer.state[self.vector] = {k: v.to(device).float() for k, v in state["moments"].items()}

    def use_average(self):
        """From here on the module's weights are the averaged ones."""
        with torch.no_grad():
            self.vector.copy_(self.average)


class Averaged:
    """Within it the module's weights are their average."""

    def __init__(self, flat):
        self.flat = flat

    def __enter__(self):
        self.kept = self.flat.vector.detach().clone()
        self.flat.use_average()

    def __exit__(self, *_):
        with torch.no_grad():
            self.flat.vector.copy_(self.kept)
