"""Exports that are imported when first used (PEP 562), which keeps `import cryowalk` and `--help` fast."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any


def lazy_exports(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package whose public names live in its modules.

    `names` maps each public name to the module (relative to the package, `"."` for a sub-package of that name) that defines it.
    """

    def __getattr__(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if names[name] == ".":
            return import_module(f"{package}.{name}")
        return getattr(import_module(f"{package}.{names[name]}"), name)

    def __dir__() -> list[str]:
        return sorted(names)

    return __getattr__, __dir__


@contextmanager
def loaded_meanwhile(module: str) -> Iterator[None]:
    """A block during which a module is imported in a thread of its own, so that what is drawn after long compiled work need not wait for its library.

    A module that cannot be imported is not told here, but where it is used.
    """

    def load() -> None:
        with suppress(ImportError):
            import_module(module)

    thread = threading.Thread(target=load, name=f"load {module}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()
