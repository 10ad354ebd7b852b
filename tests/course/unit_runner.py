"""Run one unit as the instructor build, in a process of its own: `python unit_runner.py UNIT.py SEED…` writes what happened as JSON.

On the way every student cell is tried too (it must raise NotImplementedError), every widget is moved to its extremes, and sockets to other machines are refused.
"""

import json
import os
import socket
import sys
import time
from pathlib import Path


class Refused(Exception):
    pass


def only_here(function, position):
    """The function, refused for every host but this machine's own loopback address."""

    def guarded(*args, **kwargs):
        address = args[position]
        host = address[0] if isinstance(address, tuple) else address
        if host != "127.0.0.1":
            raise Refused("the unit opened a network connection")
        return function(*args, **kwargs)

    return guarded


socket.socket.connect = only_here(socket.socket.connect, 1)
socket.socket.connect_ex = only_here(socket.socket.connect_ex, 1)
socket.create_connection = only_here(socket.create_connection, 0)
socket.getaddrinfo = only_here(socket.getaddrinfo, 0)


def main(source: Path, seeds: list[str]) -> dict:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from cryowalk.course import build, explore
    from cryowalk.course.exercise import recent_verdicts
    from cryowalk.course.run import run_cell, run_cells

    os.environ[explore.STATIC_VARIABLE] = "1"
    os.environ["CRYOWALK_COURSE_SEED"] = seeds[0]
    namespace = {"__name__": "__main__", "__builtins__": __builtins__}
    report = {"verdicts": {}, "errors": [], "stubs": {}, "explorations": [], "seconds": 0.0}
    cells = [(cell, name) for cell, name in build._named(build.read_cells(source)) if cell["type"] == "code"]

    def run(code, where):
        try:
            run_cell(code, namespace, name=where)
        except Exception as error:  # noqa: BLE001 (a unit may raise anything)
            report["errors"].append(f"{where}: {type(error).__name__}: {error}\n{code[:300]}")
        plt.close("all")

    for number, (cell, name) in enumerate(cells):
        code = cell["source"]
        if build.has_solution(code):
            try:
                run_cell(build.strip_solution(code, name), dict(namespace), name=f"stub {number}")
                report["stubs"].setdefault(name, []).append("nothing was raised")
            except NotImplementedError as stub:
                report["stubs"].setdefault(name, []).append(
                    "stub" if str(stub) == f"your answer to {name}" else f"names another: {stub}"
                )
            except Exception as error:  # noqa: BLE001 (a unit may raise anything)
                report["stubs"].setdefault(name, []).append(f"{type(error).__name__}: {error}")
            plt.close("all")
        start = time.perf_counter()
        run(code, f"cell {number}")
        report["seconds"] += time.perf_counter() - start
    report["verdicts"][seeds[0]] = [(name, verdict.passed, verdict.message) for name, verdict in recent_verdicts()]

    for seed in seeds[1:]:
        # Only the cells that see the learner's numbers or hold an answer are run again.
        os.environ["CRYOWALK_COURSE_SEED"] = seed
        earlier = len(recent_verdicts())
        for number, (cell, _) in enumerate(cells):
            if build.has_solution(cell["source"]) or "parameters(" in cell["source"] or "check(" in cell["source"]:
                run(cell["source"], f"cell {number}, seed {seed}")
        report["verdicts"][seed] = [(name, verdict.passed, verdict.message) for name, verdict in recent_verdicts()[earlier:]]

    # The blur path alone, in a fresh namespace and with what a learner has predicted there.
    os.environ["CRYOWALK_COURSE_DIRECTORY"] = str(Path.cwd() / "blur")
    os.environ["CRYOWALK_COURSE_SEED"] = seeds[0]
    record, _ = run_cells([cell["source"] for cell, _ in cells if "sharpen" not in cell["tags"]], keep_going=True)
    report["blur"] = record.errors

    seen = []
    for value in list(namespace.values()):
        if isinstance(value, explore.Exploration) and not any(value is other for other in seen):
            seen.append(value)
            report["explorations"].append(sweep(value))
    return report


def sweep(exploration) -> str:
    """What moving every control to its extremes found wrong ("" if nothing)."""
    import matplotlib.pyplot as plt
    import numpy as np

    from cryowalk.course import explore

    def drawn(figure):
        # Everything is drawn, but compressing each picture is left out: the unit itself has shown one of them as PNG.
        figure.canvas.draw()
        pixels = bytes(figure.canvas.buffer_rgba())
        plt.close(figure)
        return b"picture" + pixels[:: len(pixels) // 1000]

    explore.picture = drawn

    try:
        box = exploration.widget()
        *sliders, image = box.children
        for slider, control in zip(sliders, exploration.controls.values(), strict=True):
            for value in control.extremes():
                if value == slider.value:
                    continue
                slider.value = value
                if not bytes(image.value).startswith(b"picture"):
                    return "no picture"
        for values in exploration.corners()[-2:]:
            figure = exploration.draw(**values)
            for axes in figure.axes:
                for line in axes.lines:
                    data = np.asarray(line.get_ydata(), dtype=float)
                    if data.size and not np.isfinite(data).any():
                        return f"nothing finite is drawn at {values}"
    except Exception as error:  # noqa: BLE001 (a drawing may raise anything)
        return f"{type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(main(Path(sys.argv[1]), sys.argv[2:])) + "\n")
