"""The course: units to open, exercises that check themselves, and the learner's progress."""

from cryowalk.core.lazy import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Choice": "explore",
        "Slider": "explore",
        "check": "exercise",
        "explain": "exercise",
        "exploration": "explore",
        "hints": "exercise",
        "parameters": "exercise",
        "predict": "exercise",
        "prediction": "exercise",
        "check_answer": "catalogue",
        "check_unit": "catalogue",
        "open_unit": "catalogue",
        "progress_board": "boards",
        "unit_map": "boards",
        "progress": "catalogue",
        "reset": "store",
        "units": "catalogue",
    },
)
