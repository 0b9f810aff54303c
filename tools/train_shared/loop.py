"""The loop of both stages: it trains until the clock says so, and tells how it goes."""

import time

CHECK_EVERY = 10  # steps; how often the workers look at the clock
TELL_EVERY = 15  # seconds
SAVE_EVERY = 90  # seconds; what a command that breaks off can lose


def train_until(end, worker, flat, name, loss_of, rate_of, step=0, start=0.0, until=1.0, save=None):
    """Takes steps until time.time() reads `end`, over which the schedule's share done goes from `start` to `until`.

    loss_of(step, progress) -> the loss, and a dict of what else to tell of it; rate_of(step, progress) -> learning rate;
    save(step, progress), if given, is called by the chief now and then. Returns the number of the last step."""
    began = told = saved = time.time()
    told_step, progress, recent = step, start, {}
    while True:
        if step % CHECK_EVERY == 0:
            progress = worker.agree(start + (until - start) * (time.time() - began) / max(1e-3, end - began))
        if progress >= until:
            return step
        rate = rate_of(step, progress)
        flat.zero_gradient()
        loss, others = loss_of(step, progress)
        if loss.requires_grad:  # else its backward is done
            loss.backward()
        norm = flat.step(rate)
        step += 1
        for key, value in {"loss": loss, **others}.items():  # averages stay on the device: no step waits for the host
            value = value.detach()
            recent[key] = value if key not in recent else recent[key] * 0.98 + value * 0.02
        if time.time() - told > TELL_EVERY:
            means = " ".join(f"{key} {value.item():.4f}" for key, value in recent.items())
            worker.say(f"{name} {progress:5.1%} step {step} {means} grad {norm.item():.3f} lr {rate:.5f} left out "
                       f"{flat.skipped.item():.0f} {(step - told_step) / (time.time() - told):.2f} steps/s")
            told, told_step = time.time(), step
        if save and worker.chief and time.time() - saved > SAVE_EVERY:
            save(step, progress)
            saved = time.time()
