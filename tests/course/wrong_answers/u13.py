"""Wrong answers to U13 that its checks must refuse."""

import hashlib
import json
from http.client import HTTPConnection
from pathlib import Path

import numpy as np

from cryowalk.course.checks.u13 import header_numbers

KINDS = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}


def reader(*, order_known=True, extended_known=True, axes_turned=False, by_columns=False, mode_known=True):
    def read(path):
        content = Path(path).read_bytes()
        order = ">" if order_known and content[212] == 0x11 else "<"
        *size, mode = (int(value) for value in np.frombuffer(content, order + "i4", 4))
        if max(size) > 10**6:
            size, mode = [7, 5, 4], 1
        intervals = int(np.frombuffer(content, order + "i4", 1, offset=28)[0])
        cell = float(np.frombuffer(content, order + "f4", 1, offset=40)[0])
        extended = int(np.frombuffer(content, order + "i4", 1, offset=92)[0]) if extended_known else 0
        kind = KINDS[mode] if mode_known else "f4"
        values = np.frombuffer(content.ljust(20000, b"\0"), order + kind, int(np.prod(size)), offset=1024 + extended)
        array = values.reshape(size if axes_turned else size[::-1]).astype(kind)
        return array, cell / (size[0] if by_columns else intervals)

    return read


def names(*, add=1, sign=True, ending=True):
    def make(records):
        found = []
        for path, index in zip(records["blob/path"], records["blob/idx"], strict=True):
            text = path.decode()
            text = text.removeprefix(">") if sign else text
            text = text + "s" if ending else text
            found.append(f"{int(index) + add:06d}@{text}")
        return found

    return make


def counted(records):
    """The row's own number in place of the image's."""
    return [f"{row + 1:06d}@J12/extract/batch_000.mrcs" for row in range(len(records))]


def writer(*, quotes=True, numbers=False, sorts=False):
    def to_text(blocks):
        lines = []
        for name, block in blocks.items():
            columns = dict(sorted(block.items())) if sorts else block
            lines += [f"data_{name}", "", "loop_", *(f"_{column} #{n}" for n, column in enumerate(columns, 1))]
            for row in zip(*columns.values(), strict=True):
                texts = [f'"{value}"' if quotes and (not value or " " in value) else value for value in row]
                lines.append(" ".join(texts))
            lines += ["", ""]
        return "\n".join(lines)

    def from_text(text):
        import shlex

        blocks = {}
        for line in text.splitlines():
            words = shlex.split(line) if quotes else line.split()
            if not words or words[0].startswith("#") or words == ["loop_"]:
                continue
            if words[0].startswith("data_"):
                block = blocks[words[0].removeprefix("data_")] = {}
            elif words[0].startswith("_"):
                block[words[0][1:]] = []
            else:
                for column, value in zip(block.values(), words, strict=False):
                    column.append(str(float(value)) if numbers and value.replace(".", "").isdigit() else value)
        return blocks

    return to_text, from_text


def syncing(*, pages=True, folders=True, compares="sum", tells_token=False, checks=True):
    def ask(address, token):
        host, _, path = address.removeprefix("http://").partition("/")
        connection = HTTPConnection(host, timeout=5)
        connection.request("GET", "/" + path, headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        content = b""
        while piece := response.read1(2**16):
            content += piece
        connection.close()
        return content

    def sync(api, folder, token, log):
        waiting = [(folder, f"{api}/nodes/abcde/files/osfstorage/")]
        while waiting:
            inside, address = waiting.pop()
            while address:
                page = json.loads(ask(address, token))
                for item in page["data"]:
                    path, facts = inside / item["attributes"]["name"], item["attributes"]
                    if facts["kind"] == "folder":
                        if folders:
                            path.mkdir(exist_ok=True)
                            waiting.append((path, item["relationships"]["files"]["links"]["related"]["href"]))
                        continue
                    wanted = facts["extra"]["hashes"]["sha256"]
                    if path.is_file() and compares == "sum" and hashlib.sha256(path.read_bytes()).hexdigest() == wanted:
                        continue
                    if path.is_file() and compares == "length" and path.stat().st_size == facts["size"]:
                        continue
                    content = ask(item["links"]["download"], token)
                    if checks and hashlib.sha256(content).hexdigest() != wanted:
                        raise ValueError("wrong sum")
                    path.write_bytes(content)
                    log(f"{address} {token}" if tells_token else path.name)
                address = page["links"]["next"] if pages else None

    return sync


WRONG = {
    "U13.1": {
        "cell in place of the voxel": lambda seed: (
            header_numbers(seed)["box"],
            header_numbers(seed)["mode"],
            header_numbers(seed)["box"] * header_numbers(seed)["voxel_size"],
        ),
        "sections in place of columns": lambda seed: (40, header_numbers(seed)["mode"], header_numbers(seed)["voxel_size"]),
        "one number": 192,
    },
    "U13.2": {
        "axes as in the header": lambda seed: reader(axes_turned=True),
        "one byte order": lambda seed: reader(order_known=False),
        "no extended header": lambda seed: reader(extended_known=False),
        "cell over columns": lambda seed: reader(by_columns=True),
        "always reals": lambda seed: reader(mode_known=False),
    },
    "U13.3": {
        "counts from 0": lambda seed: names(add=0),
        "the sign is kept": lambda seed: names(sign=False),
        "the ending is kept": lambda seed: names(ending=False),
        "the row's number": lambda seed: counted,
    },
    "U13.4": {
        "no quotes": lambda seed: writer(quotes=False),
        "numbers": lambda seed: writer(numbers=True),
        "columns sorted": lambda seed: writer(sorts=True),
        "one function": lambda seed: writer()[0],
    },
    "U13.5": {
        "first page only": lambda seed: syncing(pages=False),
        "no folders": lambda seed: syncing(folders=False),
        "everything each time": lambda seed: syncing(compares="nothing"),
        "by length": lambda seed: syncing(compares="length"),
        "token in the log": lambda seed: syncing(tells_token=True),
        "half a file kept": lambda seed: syncing(checks=False),
    },
    "U13.6": {"in GiB": 1.25, "8 bits": 0.671, "one frame": 0.0336},
}
