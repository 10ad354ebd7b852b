"""One reference page per floor, read from the source without importing it: signatures as their authors wrote them, shapes included.

Docstrings are prose, not reStructuredText, so every sign of theirs is escaped; numpydoc's sections and `code` are understood.
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SPECIAL = re.compile(r"([\\*|_`<>])")


@dataclass(frozen=True, kw_only=True)
class Module:
    """A module: dotted name, syntax tree, source lines."""

    name: str
    tree: ast.Module
    lines: list[str]


def floor_page(package: Path, floor: str) -> str:
    """The page of one floor as reStructuredText, or nothing where the floor has no public function or class yet."""
    modules = [read_module(package, path) for path in sorted((package / floor).rglob("*.py"))]
    exports = {name: defining_module(name, where, modules) for name, where in exported_names(modules[0]).items()}
    summary = prose(ast.get_docstring(modules[0].tree) or "")
    blocks = []
    modules.sort(key=lambda module: (module.name not in exports.values(), module.name))  # what is imported most comes first
    for module in modules:
        entries = list(public_entries(module, exports))
        if not entries:
            continue
        if module.name != f"cryowalk.{floor}":
            blocks += [heading(module.name.removeprefix("cryowalk."), "-"), prose(ast.get_docstring(module.tree) or "")]
        blocks += entries
    if not blocks:
        return ""
    names = ", ".join(f"``{name}``" for name in sorted(exports)) if exports else ""
    short = [f"Importable straight from ``cryowalk.{floor}``: {names}."] if names else []
    return "\n\n".join([heading(floor, "="), summary, *short, *blocks]) + "\n"


def read_module(package: Path, path: Path) -> Module:
    """The module in this file."""
    text = path.read_text(encoding="utf-8")
    parts = path.relative_to(package.parent).with_suffix("").parts
    return Module(name=".".join(parts).removesuffix(".__init__"), tree=ast.parse(text), lines=text.splitlines())


def exported_names(initial: Module) -> dict[str, str]:
    """The names that a package exports lazily, each with the module that defines it."""
    found: dict[str, str] = {}
    for node in ast.walk(initial.tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "lazy_exports" and isinstance(node.args[-1], ast.Dict):
            for key, value in zip(node.args[-1].keys, node.args[-1].values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Constant) and value.value != ".":
                    found[key.value] = f"{initial.name}.{value.value}"
    return found


def defining_module(name: str, exporter: str, modules: list[Module]) -> str:
    """The module that defines an exported name: the one it is exported from, or the one which that module took it from."""
    defining = [module.name for module in modules if any(getattr(node, "name", "") == name for node in module.tree.body)]
    return exporter if exporter in defining or len(defining) != 1 else defining[0]


def public_entries(module: Module, exports: dict[str, str]) -> Iterator[str]:
    """The entries of a module's public functions and classes, in the order of the source."""
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_") and ast.get_docstring(node):
            is_exported = exports.get(node.name) == module.name
            yield entry(module, node, short_name=f"{'.'.join(module.name.split('.')[:2])}.{node.name}" if is_exported else "")


def entry(module: Module, node: ast.FunctionDef | ast.ClassDef, *, short_name: str) -> str:
    """The entry of one function or class; a name that the package exports is the first one, the module's the second."""
    full = f"{module.name}.{node.name}"
    kind = "function" if isinstance(node, ast.FunctionDef) else "class"
    options = [f":canonical: {full}"] if short_name and short_name != full else []
    body = [code(signature(module, node)), prose(ast.get_docstring(node) or "")]
    if isinstance(node, ast.ClassDef):
        body += list(members(module, node, owner=short_name or full))
    head = "\n".join([f".. py:{kind}:: {short_name or full}", *(f"   {option}" for option in options)])
    return head + "\n\n" + textwrap.indent("\n\n".join(body), "   ")


def members(module: Module, owner_node: ast.ClassDef, *, owner: str) -> Iterator[str]:
    """The entries of a class's public methods and properties."""
    for node in owner_node.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and ast.get_docstring(node):
            is_property = any(getattr(one, "id", "") == "property" for one in node.decorator_list)
            kind = "property" if is_property else "method"
            body = "\n\n".join([code(signature(module, node)), prose(ast.get_docstring(node) or "")])
            yield f".. py:{kind}:: {owner}.{node.name}\n\n" + textwrap.indent(body, "   ")


def signature(module: Module, node: ast.FunctionDef | ast.ClassDef) -> str:
    """The head of a definition as it was written; for a class with its fields."""
    first = node.body[0].lineno
    head = textwrap.dedent("\n".join(module.lines[node.lineno - 1 : first - 1])).rstrip().removesuffix(":")
    if isinstance(node, ast.FunctionDef):
        return head.removeprefix("def ")
    fields = [statement for statement in node.body if isinstance(statement, ast.AnnAssign)]
    lines = ["\n".join(module.lines[one.lineno - 1 : one.end_lineno]) for one in fields if not ast.unparse(one).startswith("_")]
    return "\n".join([head.removeprefix("class "), *lines])


def heading(text: str, underline: str) -> str:
    """A heading of reStructuredText."""
    return f"{text}\n{underline * len(text)}"


def code(text: str) -> str:
    """A block of Python code."""
    return ".. code-block:: python\n\n" + textwrap.indent(text, "   ")


def prose(docstring: str) -> str:
    """A docstring as reStructuredText."""
    blocks: list[str] = []
    section = ""
    for block in re.split(r"\n\s*\n", docstring.strip()):
        lines = block.splitlines()
        if len(lines) > 1 and re.fullmatch(r"-{3,}", lines[1].strip()):
            section, lines = lines[0].strip(), lines[2:]
            if section != "Examples":
                blocks.append(f"**{section}**")
        elif section != "Examples" and not any(line.startswith(" ") for line in lines[1:]):
            section = ""  # a section's entries have an indented line each; anything else is text again
        if lines:
            blocks.append(block_of(lines, section))
    return "\n\n".join(blocks)


def block_of(lines: list[str], section: str) -> str:
    """One paragraph of a docstring: example, list, indented text, what a section tells, or plain words."""
    if lines[0].lstrip().startswith(">>>"):
        return ".. code-block:: pycon\n\n" + textwrap.indent(textwrap.dedent("\n".join(lines)), "   ")
    if all(line.startswith("    ") for line in lines):
        return ".. code-block:: text\n\n" + textwrap.indent(textwrap.dedent("\n".join(lines)), "   ")
    if section in {"Raises", "Warns", "Attributes", "Parameters"}:
        return definitions(lines)
    if lines[0].startswith(("- ", "* ")):
        items = re.split(r"\n(?=[-*] )", "\n".join(lines))
        return "\n".join("* " + escaped(" ".join(item[2:].split())) for item in items)
    return escaped(" ".join(" ".join(lines).split()))


def definitions(lines: list[str]) -> str:
    """Names with what is said of them, as a list."""
    items: list[list[str]] = []
    for line in lines:
        if line.startswith(" ") and items:
            items[-1].append(line.strip())
        else:
            items.append([line.strip()])
    return "\n".join(f"* ``{name}``: {escaped(' '.join(words))}" for name, *words in items)


def escaped(text: str) -> str:
    """The text with every sign of reStructuredText taken as it stands; `code` stays code."""
    parts = re.split(r"`([^`\n]+)`", text)
    plain = [
        SPECIAL.sub(r"\\\1", part) if index % 2 == 0 else f"\\ ``{part.strip() or ' '}``\\ " for index, part in enumerate(parts)
    ]
    return "\\ " + "".join(plain)
