"""Random generators that are arguments, never global state."""

import torch


def generator(seed: int, *, device: str = "cpu") -> torch.Generator:
    """A random generator of its own, started at `seed`."""
    return torch.Generator(device=device).manual_seed(seed)
