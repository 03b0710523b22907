"""Outputs of towers as named tensors and a text that says how they belong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.utils import ModelOutput

from autotc.runtime.features import fields_of, with_fields

_Node = dict[str, object]


@dataclass(frozen=True)
class Packed:
    """An output of a tower in the host's memory.

    Attributes:
        tree: how the tensors belong together, of what JSON can hold.
        tensors: by the names that the tree calls them.
    """

    tree: _Node
    tensors: dict[str, Tensor]

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


def pack(value: object, home: torch.device) -> Packed:
    """An output as it is kept.

    Args:
        value: a tensor, or lists, tuples, dicts and `ModelOutput`s of tensors and plain values.
        home: device of requests; tensors elsewhere are noted with their device.

    Raises:
        TypeError: it holds something else.
    """
    found: dict[int, Tensor] = {}
    tree = _packed(value, home, found)
    return Packed(tree, {str(i): tensor.detach().cpu() for i, tensor in enumerate(found.values())})


def _packed(value: object, home: torch.device, found: dict[int, Tensor]) -> _Node:
    """The tree of a value, whose tensors are added to those found; one that stands in it twice is kept once."""
    if isinstance(value, Tensor):
        found.setdefault(id(value), value)
        name = str([*found].index(id(value)))
        return {"tensor": name, "device": None if value.device == home else str(value.device)}
    if isinstance(value, ModelOutput):
        fields = {key: _packed(part, home, found) for key, part in fields_of(value).items()}
        return {"output": _name(type(value)), "fields": fields}
    if type(value) is dict and all(isinstance(key, str) for key in value):
        return {"dict": {key: _packed(part, home, found) for key, part in value.items()}}
    if type(value) in (list, tuple):
        assert isinstance(value, list | tuple)
        return {type(value).__name__: [_packed(part, home, found) for part in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return {"plain": value}
    raise TypeError(f"{type(value).__name__}: cannot be kept")


def unpack(packed: Packed, home: torch.device) -> object:
    """What `pack` was given, with tensors where a run would have them.

    Raises:
        KeyError, ValueError: tree and tensors do not go together, or name a class that is not loaded.
    """
    return _unpacked(packed.tree, packed.tensors, home)


def _unpacked(node: object, tensors: Mapping[str, Tensor], home: torch.device) -> object:
    if not isinstance(node, dict):
        raise ValueError("no node")
    if "tensor" in node:
        return tensors[node["tensor"]].to(home if node["device"] is None else node["device"])
    if "output" in node:
        fields = {key: _unpacked(part, tensors, home) for key, part in node["fields"].items()}
        return with_fields(_class(node["output"]), fields)
    if "dict" in node:
        return {key: _unpacked(part, tensors, home) for key, part in node["dict"].items()}
    if "plain" in node:
        return node["plain"]
    for kind in (list, tuple):
        if kind.__name__ in node:
            return kind(_unpacked(part, tensors, home) for part in node[kind.__name__])
    raise ValueError("a node of no kind")


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _class(name: str) -> type[ModelOutput]:
    """A class of outputs by its name, of those that are loaded: the model that makes them is."""
    for kind in _subclasses(ModelOutput):
        if _name(kind) == name:
            return kind
    raise KeyError(name)


def _subclasses(kind: type[ModelOutput]) -> Iterator[type[ModelOutput]]:
    for child in kind.__subclasses__():
        yield child
        yield from _subclasses(child)
