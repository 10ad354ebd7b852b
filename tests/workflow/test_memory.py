"""Memory: what does not fit is one error before the work."""

import pytest

from cryowalk import Optics
from cryowalk.core.errors import EnvironmentFault
from cryowalk.microscope.micrograph_settings import MicrographSimulationSettings, MovieSimulationSettings
from cryowalk.workflow import memory


def test_the_kernel_tells_what_is_free(tmp_path):
    facts = tmp_path / "meminfo"
    facts.write_text("MemTotal:       9000 kB\nMemAvailable:   2000 kB\nSwapFree:        500 kB\nHugePages_Total:       0\n")
    assert memory.free_memory(facts) == 2500 * 1024
    facts.write_text("MemTotal:       9000 kB\n")
    assert memory.free_memory(facts) is None
    assert memory.free_memory(tmp_path / "none") is None


def test_more_than_is_free_is_one_error():
    memory.require_memory(9.9e9, what="this", fix="less", free=1e10)
    with pytest.raises(EnvironmentFault, match=r"this needs about 12.0 GB of memory, and 10.0 GB are free") as error:
        memory.require_memory(1.2e10, what="this", fix="less", free=1e10)
    assert error.value.exit_code == 4


def test_a_field_needs_its_canvas(monkeypatch):
    optics = Optics(pixel_size=2.0)
    monkeypatch.setattr(memory, "free_memory", lambda: 6e9)
    field = {"size": (8192, 8192), "defocus_range": (1e4, 2e4)}
    memory.require_canvas_memory(optics, MicrographSimulationSettings(**field))
    for settings in (MovieSimulationSettings(**field), MicrographSimulationSettings(**field, scattering="multislice")):
        with pytest.raises(EnvironmentFault, match=r"a field of 8192 × 8192 pixels, \d{4} × \d{4} with"):
            memory.require_canvas_memory(optics, settings)
    with pytest.raises(EnvironmentFault, match="32768"):
        memory.require_canvas_memory(optics, MicrographSimulationSettings(size=(32768, 32768)))
