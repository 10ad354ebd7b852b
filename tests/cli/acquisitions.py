"""Small acquisitions as EPU and SerialEM leave them: films on a grid of holes, each with the file that tells its shift."""

from pathlib import Path

import torch

from cryowalk.io.mrc import write_array

XML = """<?xml version="1.0" encoding="utf-8"?>
<MicroscopeImage xmlns="http://schemas.datacontract.org/2004/07/Fei.SharedObjects" xmlns:i="http://www.w3.org/2001/XMLSchema-instance">
  <microscopeData><acquisition><camera><Name>Falcon</Name></camera></acquisition>
    <gun><AccelerationVoltage>300000</AccelerationVoltage></gun>
    <optics><BeamShift xmlns:a="http://schemas.datacontract.org/2004/07/Fei.Types"><a:_x>{x}</a:_x><a:_y>{y}</a:_y></BeamShift>
      <BeamTilt xmlns:a="http://schemas.datacontract.org/2004/07/Fei.Types"><a:_x>0</a:_x><a:_y>0</a:_y></BeamTilt></optics>
  </microscopeData>
</MicroscopeImage>
"""


def epu_session(
    folder: Path, *, side: int = 3, each: int = 4, spread: float = 0.002, size: tuple[int, int] = (24, 32)
) -> dict[str, int]:
    """The hole (row by row) of each film that was written: `side` × `side` holes 0.05 apart, `each` films of every one."""
    g = torch.Generator().manual_seed(5)
    folder.mkdir(parents=True)
    hole_of: dict[str, int] = {}
    for hole in range(side * side):
        for number in range(each):
            base = f"FoilHole_{1000 + number}_Data_{2000 + hole // 2}_{3000 + hole}_20240110_1200{hole:02d}"
            base = base[:-4] + f"{number:02d}{hole:02d}"
            frames = torch.randn(3, *size, generator=g)
            write_array(frames, folder / f"{base}_fractions.mrc", voxel_size=1.06, kind="images")
            x, y = (0.05 * place + spread * float(torch.randn(1, generator=g)) for place in (hole % side, hole // side))
            (folder / f"{base}.xml").write_text(XML.format(x=x, y=y))
            hole_of[f"{base}_fractions.mrc"] = hole
    return hole_of


def serialem_session(folder: Path, *, side: int = 3, each: int = 4) -> dict[str, int]:
    """The same with SerialEM's names and mdoc files; the names tell the position, too."""
    g = torch.Generator().manual_seed(6)
    folder.mkdir(parents=True)
    hole_of: dict[str, int] = {}
    for hole in range(side * side):
        for number in range(each):
            name = f"grid1_{number:03d}_X{hole % side - 1:+d}Y{hole // side - 1:+d}-1.mrc"
            write_array(torch.randn(2, 24, 32, generator=g), folder / name, voxel_size=1.06, kind="images")
            x, y = (2.0 * place + 0.02 * float(torch.randn(1, generator=g)) for place in (hole % side, hole // side))
            text = f"[FrameSet = 0]\nTiltAngle = 0.01\nImageShift = {x:.4f} {y:.4f}\nSubFramePath = X:\\data\\{name}\n"
            (folder / f"{name}.mdoc").write_text(text)
            hole_of[name] = hole
    return hole_of
