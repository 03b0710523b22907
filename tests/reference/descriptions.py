"""What the docstrings of pydantic models say of their fields."""

from __future__ import annotations

import inspect
import re

from pydantic import BaseModel


def summary(cls: type) -> str:
    """The first line of a class's docstring."""
    return plain((inspect.getdoc(cls) or "").partition("\n")[0])


def of_fields(model: type[BaseModel]) -> dict[str, str]:
    """Field -> what the ``Attributes:`` of its class, or of the class that it comes from, say of it."""
    out: dict[str, str] = {}
    for cls in model.__mro__:
        if not issubclass(cls, BaseModel) or cls is BaseModel:
            continue
        for name, text in _attributes(cls).items():
            out.setdefault(name, text)
    return {name: out[name] for name in model.model_fields if name in out}


def _attributes(cls: type) -> dict[str, str]:
    doc = inspect.cleandoc(cls.__doc__ or "")
    part = re.search(r"^Attributes:\n((?:    .*\n?)+)", doc, re.MULTILINE)
    out: dict[str, str] = {}
    # One entry is "name: text", or "name, name: text", with deeper lines that go on.
    for entry in re.findall(r"^    (\S.*(?:\n     +\S.*)*)", part[1] if part else "", re.MULTILINE):
        names, _, text = " ".join(entry.split()).partition(": ")
        out.update(dict.fromkeys(names.split(", "), plain(text)))
    return out


def plain(text: str) -> str:
    """Text of a docstring without the signs that mark code."""
    return re.sub(r"`+([^`]+)`+", r"`\1`", text)
