"""Simulated data with its truth: particle stacks."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(__name__, {"simulate_particles": "particles"})
