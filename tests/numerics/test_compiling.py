"""Machine code rounds the same in the process that compiles it as in those that read it from the cache."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import hashlib, sys
import torch
from cryowalk.numerics.poisson import poisson
from cryowalk.numerics.warping import add_warped
generator = torch.Generator().manual_seed(1)
images = torch.randn(2, 96, 130, generator=generator)
fields = torch.randn(2, 2, 6, generator=generator, dtype=torch.float64)
total = torch.zeros(1, 96, 130)
add_warped(images, fields, torch.ones(1, 2), total, interpolation=sys.argv[1])
drawn = poisson(images.exp(), generator=generator)
print(hashlib.sha256(total.numpy().tobytes() + drawn.numpy().tobytes()).hexdigest())
"""


@pytest.mark.slow  # it compiles
@pytest.mark.parametrize("interpolation", ["cubic", "linear"])
def test_the_first_run_ends_with_the_bytes_of_the_second(tmp_path, interpolation):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    runs = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM, interpolation], capture_output=True, text=True, env=environment, check=True
        )
        for _ in range(2)
    ]
    assert list(tmp_path.rglob("*.nbc"))
    assert runs[0].stdout == runs[1].stdout
