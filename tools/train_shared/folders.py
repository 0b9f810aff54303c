"""Exported folders: that they hold what was learnt, and the way back into a state that train.py goes on from."""

import torch
from safetensors.torch import load_file, save_file

import run_state


def to_half(modules):
    for module in modules:
        module.to(torch.float16)
        if not all(weight.isfinite().all() for weight in module.state_dict().values()):
            raise SystemExit(f"{type(module).__name__} has weights that float16 cannot hold")


def clip_as_on_the_hub(path):
    """The hub's files of CLIP's text model have a prefix that today's transformers leaves out."""
    weights = {"text_model." + name.removeprefix("text_model."): value for name, value in load_file(path).items()}
    save_file(weights, path, {"format": "pt"})


def confirm_weights(loaded, meant, parts):
    """Every weight of the pipeline `loaded` is what float16 makes of the one in `meant`."""
    for name in parts:
        expected = getattr(meant, name).state_dict()
        for key, value in getattr(loaded, name).state_dict().items():
            if not torch.equal(value, expected[key].half().float()):
                raise SystemExit(f"{name}: {key} comes back changed")


def reopen(denoiser, kinds, folder, state, lr):
    """Writes state/dit.pt: the folder's weights, of the classes `kinds` by component, no optimiser moments, at the start of a schedule."""
    for name, kind in kinds.items():
        exported = kind.from_pretrained(folder / name, torch_dtype=torch.float32)
        getattr(denoiser, name).load_state_dict(exported.state_dict())
    value = torch.cat([p.detach().reshape(-1) for p in denoiser.parameters()])
    flat = {"value": value, "average": value.half(), "updates": 0, "typical_norm": 0.0, "moments": {}}
    run_state.save({"flat": flat, "step": 0, "progress": 0.0, "lr": lr}, state / "dit.pt")
    print(f"{state}: {len(value)} parameters from {folder}")
