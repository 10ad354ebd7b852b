"""The one generator of commands: dataclasses in, a typer command out."""

import inspect
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import MISSING
from glob import glob
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, get_args, get_origin

import typer

from cryowalk.cli.command import Command
from cryowalk.cli.context import Context
from cryowalk.cli.fields import Field, field_from, fields_of, is_path
from cryowalk.core.errors import CryowalkWarning, InputError, UsageError
from cryowalk.io.confinement import reading_rules
from cryowalk.workflow.executors import set_threads, usable_cores
from cryowalk.workflow.external import external_job, is_external_job
from cryowalk.workflow.progress import WorkProgress, stream_display
from cryowalk.workflow.signals import stop_on_signals

# The names under which RELION hands an External job its inputs, and the options that they may stand for: the first that the command has.
RELION_INPUTS = {
    "in-parts": ("coords", "i"),
    "in-mics": ("i",),
    "in-movies": ("i",),
    "in-3dref": ("ref", "i"),
    "in-coords": ("coords", "i"),
    "in-mask": ("mask",),
}
_EVERY = "Every command"
_OPTIONS = "Options"

COMMON: tuple[Field, ...] = (
    field_from("seed", Annotated[int, "seed of every random number", ("min", 0), ("max", 2**63 - 1)], 0),
    field_from("threads", Annotated[int | None, "computing threads; all cores unless given", ("min", 1), ("max", 4096)], None),
    field_from("device", Annotated[str, "auto (a GPU if there is one), cpu, cuda or cuda:N"], "auto"),
    field_from("quiet", Annotated[bool, "no progress, only results and errors"], False),  # noqa: FBT003  a default, not a choice
    field_from("debug", Annotated[bool, "show the whole traceback of an error"], False),  # noqa: FBT003  a default, not a choice
    field_from("confine", Annotated[bool, "refuse files that tables name outside the current directory"], False),  # noqa: FBT003  a default
    field_from("strict", Annotated[bool, "end with an error (exit 3) where a warning would be told"], False),  # noqa: FBT003  a default
)
SETTINGS_FILE = field_from(
    "settings", Annotated[Path | None, "YAML, JSON or job.json with settings; options given beside it win"], None
)
PIPELINE = field_from("pipeline_control", Annotated[str | None, "given by RELION"], None)


def command_function(command: Command) -> Callable[..., None]:
    """A function with one parameter an option, which typer can turn into a command."""
    own = [*fields_of(command.files), *(fields_of(command.settings) if command.settings else ())]
    common = [*COMMON, *((SETTINGS_FILE,) if command.settings else ()), PIPELINE]
    doubled = {field.name for field in own} & {field.name for field in common}
    if doubled or len({field.name for field in own}) < len(own):
        raise TypeError(f"{command.name}: two options of one name: {sorted(doubled) or [field.name for field in own]}")

    def function(ctx: Any, **values: Any) -> None:
        run_command(command, values, given={name for name in values if _is_given(ctx, name)})

    parameters = [inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)]
    # Positional arguments come first, in the order of the dataclass.
    ordered = sorted(own, key=lambda field: not field.positional)
    parameters += [_parameter(field, panel=_OPTIONS) for field in ordered]
    parameters += [_parameter(field, panel=_EVERY, hidden=field is PIPELINE) for field in common]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what typer reads
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    function.__name__ = command.name.replace(" ", "_")
    function.__doc__ = f"{command.summary}\n\n{command.details}".strip()
    return function


def _is_given(ctx: Any, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP")


def same_name(command: Command) -> Callable[[str], str]:
    """A function that maps each way to write an option's name to the one that is declared.

    `_` and `-` are the same, and the names under which RELION hands an External job its inputs stand for `--i`, `--coords`, `--ref` and `--mask`
    where no field claims them.
    """
    own = [*fields_of(command.files), *(fields_of(command.settings) if command.settings else ())]
    flags = {flag.lstrip("-").replace("_", "-") for field in (*own, *COMMON, SETTINGS_FILE, PIPELINE) for flag in field.flags}
    names = {flag: flag for flag in flags}
    for name, meant in RELION_INPUTS.items():
        flag = next((flag for flag in meant if flag in flags), None)
        if flag is not None:
            names.setdefault(name, flag)

    def normalise(text: str) -> str:
        name: str = names.get(text.replace("_", "-"), text)
        return name

    return normalise


def spread_lists(command: Command, words: list[str]) -> list[str]:
    """The words with `--i A B C` written as `--i A --i B --i C` for options that name several files, and patterns of file names filled in.

    A command with arguments of its own keeps its words: there one could not tell them apart.

    Raises
    ------
    InputError
        If no file fits a pattern.
    """
    own = [*fields_of(command.files), *(fields_of(command.settings) if command.settings else ())]
    flags = {flag.lstrip("-").replace("_", "-") for field in own if field.kind == tuple[Path, ...] for flag in field.flags}
    if not flags or any(field.positional for field in own):
        return words
    normalise = same_name(command)
    result: list[str] = []
    flag = ""  # of the list that is being read, or nothing
    for word in words:
        if word.startswith("--"):
            name = word[2:].partition("=")[0]
            flag = word if normalise(name) in flags and "=" not in word else ""
            if not flag:
                result.append(word)
        elif flag:
            for path in _matching(word):
                result += [flag, path]
        else:
            result.append(word)
    return result


def _matching(word: str) -> list[str]:
    """The files that a word means: those of a pattern, sorted, or of names with commas between; one that is a file's name means itself."""
    if "," in word and not Path(word).exists():
        return [path for part in word.split(",") if part for path in _matching(part)]
    if not any(sign in word for sign in "*?[") or Path(word).exists():
        return [word]
    found = sorted(glob(word))  # noqa: PTH207  the pattern may be absolute or relative
    if not found:
        raise InputError("no file fits the pattern", file=word, fix="look at the folder's name and at the ending")
    return found


def _parameter(field: Field, *, panel: str, hidden: bool = False) -> inspect.Parameter:
    kind, parser, metavar = _typer_kind(field)
    default = inspect.Parameter.empty if field.is_required else field.default
    if parser is not None and field.default not in (MISSING, None):
        default = ",".join(map(str, field.default))
    # Brackets would be read as markup of the help text.
    keywords: dict[str, Any] = {"help": field.help.replace("[", "(").replace("]", ")"), "rich_help_panel": panel}
    if parser is not None:
        keywords |= {"parser": parser, "metavar": metavar}
    if field.positional:
        # typer has no argument with a default that may also be required; the metavar is the name in capitals.
        information = typer.Argument(
            metavar=field.positional, **{name: value for name, value in keywords.items() if name != "metavar"}
        )
        kind = list[get_args(kind)[0]] if get_origin(kind) is tuple else kind  # type: ignore[misc]  # a type made at run time
    else:
        flags = list(field.flags)
        if field.kind is bool and field.default is True:
            flags[0] = f"{flags[0]}/--no-{flags[0].removeprefix('--')}"
        shows = field.default not in (MISSING, None, "", ())
        information = typer.Option(*flags, hidden=hidden, show_default=shows, **keywords)
    annotation = Optional[kind] if field.is_optional else kind  # noqa: UP045  a type made at run time
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, information]
    )


def _typer_kind(field: Field) -> tuple[Any, Callable[[str], Any] | None, str | None]:
    """The type that typer is told, and a parser with its metavar for tuples of any length; an option of several paths is given several times."""
    kind = field.kind
    if kind == tuple[Path, ...] and not field.positional:
        return list[Path], None, None  # a file's name may hold commas and spaces
    if get_origin(kind) is tuple and get_args(kind)[-1] is Ellipsis and not field.positional:
        inner = get_args(kind)[0]

        def parse(text: Any) -> Any:
            if isinstance(text, tuple):
                return text
            try:
                return tuple(inner(part) for part in str(text).replace(",", " ").split())
            except ValueError:
                raise typer.BadParameter(f"{text!r} is no list of {inner.__name__} values such as 1,2,3") from None

        return Any, parse, "A,B,…"
    if kind in (int, float, str, bool, Path) or get_origin(kind) in (Literal, tuple):
        return kind, None, None
    raise TypeError(f"{field.name}: an option cannot be of type {kind}")


def run_command(command: Command, values: Mapping[str, Any], *, given: set[str]) -> None:
    """Nothing; the command has run.

    Raises
    ------
    CryowalkError
        If an option cannot be meant or the command fails.
    """
    for field in COMMON:
        field.check(values[field.name])
    set_threads(values["threads"] or usable_cores())
    with stop_on_signals() as request:
        progress = WorkProgress([] if values["quiet"] else [stream_display()], request=request)
        folder = _relion_folder(values)
        if folder is not None and command.output_name and values.get("output") == folder:
            values = {**values, "output": folder / command.output_name}
        markers = external_job(folder, progress=progress) if folder is not None else nullcontext()
        try:
            rules = reading_rules(confine=Path.cwd() if values["confine"] else None)
            with _told_warnings(progress, every=values["debug"], strict=values["strict"]), rules, markers:
                _run(command, values, given, progress=progress)
        finally:
            progress.finish()


def _relion_folder(values: Mapping[str, Any]) -> Path | None:
    """The directory of the External job that this command is, or None."""
    if values["pipeline_control"]:
        return Path(values["pipeline_control"])
    output = values.get("output")
    return output if isinstance(output, Path) and is_external_job(output) else None


@contextmanager
def _told_warnings(progress: WorkProgress, *, every: bool, strict: bool) -> Iterator[None]:
    """Warnings of ours are told as facts, in the log too, or are errors with `--strict`; those of other packages are told only with `--debug`."""

    def tell(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if strict and issubclass(category, CryowalkWarning):
            raise InputError(str(message), cause="--strict makes errors of warnings", fix="mend the file, or leave out --strict")
        progress.note(f"warning: {message}" if issubclass(category, CryowalkWarning) else f"{category.__name__}: {message}")

    with warnings.catch_warnings():
        if not every:
            warnings.simplefilter("ignore")
        warnings.simplefilter("always", CryowalkWarning)
        warnings.showwarning = tell
        yield


def _run(command: Command, values: Mapping[str, Any], given: set[str], *, progress: WorkProgress) -> None:
    files = _built(command.files, values)
    settings = _settings(command, values, given)
    for field in fields_of(command.files):
        if is_path(field) and field.name != "output":
            _require_there(field, values[field.name])
    context = Context(
        command=command.name,
        seed=values["seed"],
        threads=values["threads"] or usable_cores(),
        device=chosen_device(values["device"], progress.note),
        quiet=values["quiet"],
        debug=values["debug"],
        is_strict=values["strict"],
        arguments=tuple(sys.argv[1:]),
        progress=progress,
    )
    command.run(files, settings, context)


def _built(kind: type, values: Mapping[str, Any]) -> Any:
    chosen: dict[str, Any] = {}
    for field in fields_of(kind):
        value = values[field.name]
        value = tuple(value) if isinstance(value, list) else value
        if value is not None:
            field.check(value)
        chosen[field.name] = value
    try:
        built = kind(**chosen)
        check = getattr(built, "check", None)
        if check is not None:
            check()
    except ValueError as error:
        raise UsageError(str(error)) from None
    return built


def _settings(command: Command, values: Mapping[str, Any], given: set[str]) -> Any:
    if command.settings is None:
        return None
    merged = dict(values)
    if values["settings"] is not None:
        from cryowalk.workflow.settings_files import plain, read_settings, settings_from

        path: Path = values["settings"]
        names = {field.name for field in fields_of(command.settings)}
        read = read_settings(path)
        if path.name == "job.json":  # a job also records choices that are no settings
            read = {name: value for name, value in read.items() if name in names}
        from_file: Any = settings_from(command.settings, read, file=path)
        merged |= {name: getattr(from_file, name) for name in plain(from_file) if name in names and name not in given}
    return _built(command.settings, merged)


def _require_there(field: Field, value: Any) -> None:
    from cryowalk.workflow.manifest import nearest_name

    for path in value if isinstance(value, tuple | list) else (value,):
        if isinstance(path, Path) and not path.exists():
            raise InputError("there is no such file", file=path, expected=f"{field.label}: {field.help}", fix=nearest_name(path))


def chosen_device(text: str, tell: Callable[[str], None]) -> str:
    """The device that is meant and there: `cpu` or `cuda:N`; a GPU that is asked for and absent gives the CPU, with a notice.

    Raises
    ------
    UsageError
        If the text names no device.
    """
    kind, _, number = text.partition(":")
    if kind not in ("auto", "cpu", "cuda", "gpu") or (number and not number.isdigit()):
        raise UsageError(f"--device cannot be {text!r}", expected="auto, cpu, cuda or cuda:N")
    if kind == "cpu" or not _may_have_gpu():
        if kind in ("cuda", "gpu"):
            tell("no GPU here: computing on the CPU")
        return "cpu"
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if there <= int(number or 0):
        if kind != "auto":
            tell(f"no GPU {number or 0} here ({there} found): computing on the CPU")
        return "cpu"
    return f"cuda:{number or 0}"


def _may_have_gpu() -> bool:
    """Whether it is worth importing torch to ask; its import takes a second."""
    return Path("/proc/driver/nvidia").exists() or Path("/dev/nvidia0").exists() or Path("/dev/dxg").exists()
