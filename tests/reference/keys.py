"""The document of the keys of policies and search spaces, made from the pydantic models."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from autotc.budgets import AdaptiveBudget
from autotc.mechanisms import MECHANISMS
from autotc.policy import Measured, ModelReference, Policy, Stage
from autotc.search.space.model import Choice, ModalitySpace, SearchSpace

from .descriptions import of_fields, summary
from .markdown import cell, table

INTRODUCTION = """# The keys of policies and search spaces

<!-- made by `python -m tests.reference`; change the models, or tests/reference/keys.py -->

Beside this page stand their JSON Schemas, [policy.schema.json](policy.schema.json) and
[space.schema.json](space.schema.json). Every YAML file that autotc writes names its own in the first line, in the form
that the YAML language server of VS Code, Neovim, Helix and Zed reads, and JetBrains' editors: they complete keys,
mechanisms, places and parameters, show what each is, and mark what is wrong, also offline.

    # yaml-language-server: $schema=autotc-policy.schema.json

The name is a path from the file's own folder, so that a policy is the same bytes on every machine: inside a checkout
it leads to this folder, elsewhere to a copy that is written beside the file. A comment, it changes neither a policy nor
its hash. `autotc validate` checks more than a schema can say: that ratios fall with depth, that stages do not conflict,
that layers exist.
"""
PARTS: tuple[tuple[str, tuple[type[BaseModel], ...]], ...] = (
    ("Policy", (Policy, ModelReference, Stage, AdaptiveBudget, Measured)),
    ("Search space", (SearchSpace, ModalitySpace, Choice)),
)
TITLES: dict[type[BaseModel], str] = {
    ModelReference: "model",
    Stage: "stages",
    AdaptiveBudget: "budget",
    Measured: "measured",
    ModalitySpace: "modalities",
    Choice: "choices",
}
NAMES = {int: "whole number", float: "number", str: "text", bool: "true or false", object: "anything", Any: "anything"}
BOUNDS = {"ge": ">= {}", "gt": "> {}", "le": "<= {}", "lt": "< {}"}


def text() -> str:
    """The document."""
    parts = [INTRODUCTION]
    for title, models in PARTS:
        parts.append(f"## {title}\n")
        for model in models:
            parts.append((f"### `{TITLES[model]}`\n\n" if model in TITLES else "") + _model(model))
    parts.append("## Mechanisms and their parameters\n\n" + _mechanisms())
    return "\n".join(parts)


def _model(model: type[BaseModel]) -> str:
    told = of_fields(model)
    rows = [
        [f"`{name}`", cell(_kind(field)), _default(field), cell(told.get(name, ""))]
        for name, field in model.model_fields.items()
    ]
    return f"{summary(model)}\n\n{table(['key', 'value', 'default', 'meaning'], rows)}\n"


def _mechanisms() -> str:
    rows = []
    for name, cls in MECHANISMS.items():
        parameters = "; ".join(
            f"`{key}` ({_kind(field)}; default {_default(field)})" for key, field in cls.Params.model_fields.items()
        )
        places = ", ".join(cls.locations)
        rows.append([f"`{name}`", cls.family, ", ".join(cls.modalities), places, cell(summary(cls)), cell(parameters)])
    return table(["mechanism", "family", "modalities", "locations", "what it does", "`params`"], rows) + "\n"


def _kind(field: FieldInfo) -> str:
    """The type of a field in words, with its bounds."""
    return _named(field.annotation, _bounds(field.metadata))


def _named(annotation: object, bounds: str = "") -> str:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{TITLES[annotation]}](#{TITLES[annotation]})"
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in args)
    if origin in (Union, types.UnionType):
        return " or ".join(_named(arg, bounds) for arg in args if arg is not type(None))
    if origin is tuple and args[-1] is Ellipsis:
        return f"list of {_named(args[0])}"
    if origin is tuple:
        return f"{len(args)} of {_named(args[0])}"
    if origin is dict or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return f"{_named(args[0])} -> {_named(args[1])}"
    if hasattr(annotation, "__metadata__"):  # Annotated
        return _named(args[0], _bounds(args[1:]))
    if isinstance(annotation, type) and issubclass(annotation, tuple):
        return "[mean, low, high]"
    return NAMES[annotation] + bounds  # type: ignore[index]


def _bounds(metadata: object) -> str:
    found = [
        form.format(getattr(item, name))
        for item in _flat(metadata)
        for name, form in BOUNDS.items()
        if getattr(item, name, None) is not None
    ]
    return f" {', '.join(found)}" if found else ""


def _flat(metadata: Any) -> list[object]:
    out: list[object] = []
    for item in metadata:
        out += _flat(item.metadata) if isinstance(item, FieldInfo) else [item]
    return out


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ({}, ()):
        return "none"
    return f"`{', '.join(map(str, value)) if isinstance(value, tuple) else str(value).lower()}`"
