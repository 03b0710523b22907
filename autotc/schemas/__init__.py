"""JSON Schemas of policies and of search spaces, by which editors complete and check them while they are written.

The files beside this one are made from the models by ``python -m tests.reference``. A YAML file names its schema in
its first line, in the form that yaml-language-server reads (VS Code, Neovim, Helix, Zed) and JetBrains' editors too.
A path there is relative to the YAML file, so it holds offline, in a clone, and byte for byte on every machine.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

from autotc.errors import DataError
from autotc.files import read_text, write_text

Kind = Literal["policy", "space"]
FOLDER = Path(__file__).parent
_ROOT = FOLDER.parents[1]
"""What holds the package: a checkout, or the folder of installed packages."""
_MARK = "# yaml-language-server: $schema="


def schema_file(kind: Kind) -> Path:
    """The schema that ships."""
    return FOLDER / f"{kind}.schema.json"


def write_yaml(path: str | Path, text: str, kind: Kind) -> Path:
    """Write a YAML file whose first line names its schema, whole or not at all; returns its path.

    Inside a checkout the line leads to the schema in ``autotc/schemas``; elsewhere to a copy that is written beside the
    file, `copy_name`.

    Args:
        path: of the file.
        text: one YAML document; a first line that names a schema is replaced.
        kind: of the schema.

    Raises:
        DataError: the file cannot be written.
    """
    schema, folder = schema_file(kind), Path(os.path.abspath(path)).parent
    if folder.is_relative_to(_ROOT):
        return write_text(path, name_schema(text, Path(os.path.relpath(schema, folder)).as_posix()))
    beside = folder / copy_name(kind)
    written = write_text(path, name_schema(text, beside.name))
    with suppress(DataError):  # an editor then says that there is none; the file itself is whole
        _copy(schema, beside)
    return written


def copy_name(kind: Kind) -> str:
    """Name of the copy of a schema that stands beside the files that it is of."""
    return f"autotc-{kind}.schema.json"


def _copy(schema: Path, beside: Path) -> None:
    """Write a schema, unless it is there already."""
    text = read_text(schema, "a JSON Schema")
    if not beside.is_file() or beside.read_bytes() != text.encode():
        write_text(beside, text)


def name_schema(text: str, schema: str) -> str:
    r"""A YAML text whose first line names a schema.

    Example:
        >>> name_schema("version: 1", "autotc-policy.schema.json")
        '# yaml-language-server: $schema=autotc-policy.schema.json\\nversion: 1'
    """
    first, _, rest = text.partition("\n")
    return f"{_MARK}{schema}\n{rest if first.startswith(_MARK) else text}"
