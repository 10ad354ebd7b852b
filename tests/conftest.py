"""What every test may ask for: seeded generators, and the real data beside the repository where it is present."""

import hashlib
import shutil
import signal
from collections.abc import Callable
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


# What a job writes that holds times.
TIMED = ("job.json", "run.log", "report.html", "failed.json")


@pytest.fixture(scope="session")
def digests() -> Callable[..., dict[str, str]]:
    """A function: the SHA-256 of every file of a job but those with times, so that two jobs can be compared without a report of megabytes that differ.

    `renamed` is a pair of bytes: what tables call this job, and what the other one's call theirs.
    """

    def of(directory: Path, renamed: tuple[bytes, bytes] = (b"", b"")) -> dict[str, str]:
        return {
            path.relative_to(directory).as_posix(): hashlib.sha256(
                path.read_bytes().replace(*renamed) if renamed[0] and path.suffix in (".star", ".json") else path.read_bytes()
            ).hexdigest()
            for path in sorted(directory.rglob("*"))
            if path.is_file() and path.name not in TIMED
        }

    return of


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Where contents of files differ; pytest's own account, which is whole under CI, can take an hour for an image."""
    if isinstance(left, dict) and isinstance(right, dict) and any(isinstance(value, bytes) for value in left.values()):
        differ = sorted(str(name) for name in {*left, *right} if left.get(name) != right.get(name))
        return [f"contents {op}", f"these differ: {', '.join(differ)}"]
    if isinstance(left, bytes) and isinstance(right, bytes):
        first = next((place for place, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
        return [f"{len(left)} bytes {op} {len(right)} bytes", f"first difference at byte {first}"]
    return None
