"""XML of others: bounded in size and depth, no document types, no entities, nothing fetched from anywhere."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from cryowalk.core.errors import InputError, SafetyRefusal, printable
from cryowalk.io.opening import open_content, read_up_to

LARGEST = 2**28  # bytes
DEEPEST = 64  # elements inside one another


@dataclass(frozen=True, slots=True, kw_only=True)
class XmlElement:
    """One element: its tag, attributes, the text before its first child, its children, and the line it begins on."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    text: str = ""
    children: tuple["XmlElement", ...] = ()
    line: int = 0

    def find(self, tag: str) -> "XmlElement | None":
        """The first child of this tag, or None."""
        return next((child for child in self.children if child.tag == tag), None)


class _Builder:
    """The element that is being read, and those around it."""

    def __init__(self, path: Path, parser: "expat.XMLParserType") -> None:
        self.path, self.parser = path, parser
        self.open: list[tuple[str, dict[str, str], list[str], list[XmlElement], int]] = []
        self.root: XmlElement | None = None

    def begin(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self.open) >= DEEPEST:
            raise InputError(
                f"more than {DEEPEST} elements inside one another", file=self.path, row=self.parser.CurrentLineNumber
            )
        self.open.append((tag, attributes, [], [], self.parser.CurrentLineNumber))

    def end(self, _: str) -> None:
        tag, attributes, text, children, line = self.open.pop()
        element = XmlElement(tag=tag, attributes=attributes, text="".join(text), children=tuple(children), line=line)
        if self.open:
            self.open[-1][3].append(element)
        else:
            self.root = element

    def characters(self, text: str) -> None:
        if self.open and not self.open[-1][3]:
            self.open[-1][2].append(text)

    def refuse(self, *_: Any) -> int:
        raise SafetyRefusal("the XML defines a document type or entities, which no such file needs", file=self.path)


def read_xml(path: Path, *, limit: int = LARGEST) -> tuple[XmlElement, str]:
    """The outermost element of an XML file in UTF-8 or UTF-16, compressed or not, and the encoding that it names.

    Raises
    ------
    InputError
        If the file is larger than `limit` bytes, or no well-formed XML.
    SafetyRefusal
        If it defines a document type or entities, which can swell without bound or read other files.
    """
    with open_content(path) as stream:
        content = bytes(read_up_to(stream, limit + 1, path=path))
    if len(content) > limit:
        raise InputError(f"the file has more than {limit // 2**20} MiB", file=path, cause="no such file, or a decompression bomb")
    if not content.strip():
        raise InputError("the file is empty", file=path, cause="the program that wrote it failed, or the disk was full")
    parser = expat.ParserCreate()
    builder = _Builder(path, parser)
    encoding = ["utf-8"]
    parser.StartElementHandler, parser.EndElementHandler = builder.begin, builder.end
    parser.CharacterDataHandler = builder.characters
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.ExternalEntityRefHandler = builder.refuse
    parser.XmlDeclHandler = lambda _version, name, _alone: encoding.__setitem__(0, name or "utf-8")
    try:
        parser.Parse(content, True)  # noqa: FBT003  the parser's own form
    except expat.ExpatError as error:
        raise InputError(f"the XML is damaged: {expat.ErrorString(error.code)}", file=path, row=error.lineno) from None
    except (ValueError, LookupError) as error:  # an encoding that nobody knows
        raise InputError(f"the XML cannot be read: {printable(error)}", file=path) from None
    if builder.root is None:
        raise InputError("the XML holds no element", file=path)
    return builder.root, encoding[0]


def xml_text(root: XmlElement) -> str:
    """The text of an element with all that is in it, indented by tabs."""
    lines: list[str] = []

    def add(element: XmlElement, depth: int) -> None:
        start = (
            "\t" * depth + f"<{element.tag}" + "".join(f" {key}={quoteattr(value)}" for key, value in element.attributes.items())
        )
        if element.children:
            lines.append(f"{start}>")
            for child in element.children:
                add(child, depth + 1)
            lines.append("\t" * depth + f"</{element.tag}>")
        else:
            lines.append(f"{start}>{escape(element.text)}</{element.tag}>" if element.text else f"{start} />")

    add(root, 0)
    return "\n".join(lines)
