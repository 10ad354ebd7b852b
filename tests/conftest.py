"""What every test may ask for: seeded generators, and the real data beside the repository where it is present."""

import shutil
import signal
from pathlib import Path

import pytest
import torch

SHARED = Path(__file__).resolve().parents[2] / "shared"

# A shell starts what runs in its background with Ctrl-C ignored, and programs that tests start would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20261120)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; the test is skipped, with the reason, where it is missing."""
    folder = SHARED / "data"
    if not folder.is_dir():
        pytest.skip("no real data: ../shared/data is not beside the repository")
    return folder


@pytest.fixture(scope="session")
def golden() -> dict:
    """Verified numbers from outside; the test is skipped, with the reason, where they are missing."""
    import json

    path = SHARED / "reference" / "golden.json"
    if not path.is_file():
        pytest.skip("no golden numbers: ../shared/reference/golden.json is not beside the repository")
    return json.loads(path.read_text())


@pytest.fixture(scope="session")
def relion() -> Path:
    """The folder of RELION's programs; the test is skipped, with the reason, where RELION is not installed."""
    program = shutil.which("relion_project")
    if program is None:
        pytest.skip("RELION is not installed (on Debian: apt-get install relion)")
    return Path(program).parent
