"""YAML documents that users write: read within limits, with keys given once, and told in one line where they are wrong.

Policies and search spaces come through here. A document is looked at before anything is built from it: its size, its
depth, and how many values it would hold once its aliases are expanded, so that no file can be slow or large in memory.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ValidationError

from autotc.errors import AutotcError, one_line, quote
from autotc.files import read_text
from autotc.names import near_names, nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

SIZE_LIMIT = 2**20
"""Bytes of the largest document."""
DEPTH_LIMIT = 20
"""Mappings and lists within each other."""
VALUE_LIMIT = 20_000
"""Values of a document, counted with its aliases expanded."""
_NESTED = re.compile(r"[&*\[{?]|-[ \t]+-|^ {8}", re.MULTILINE)
"""Without any of these a text names nothing twice and is nested 18 levels deep at most."""


def _number(value: object) -> object:
    """Numbers as YAML writes them: neither ``true`` nor a quoted text is one."""
    if isinstance(value, bool | str):
        raise ValueError("Input should be a number")
    return value


Number = BeforeValidator(_number)
"""Of number fields: refuses what pydantic would turn into a number."""
T = TypeVar("T", bound=BaseModel)
_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same loader in C where PyYAML was built with it: ten times as fast."""


def load_mapping(path: str | Path, wanted: str, keys: str, error: type[AutotcError]) -> dict[str, object]:
    """The mapping that a YAML file holds.

    Args:
        path: of the file.
        wanted: what it should be, for errors, e.g. ``a policy file (.yaml)``.
        keys: what it should hold, for errors, e.g. ``version and stages``.
        error: class of the error to raise.

    Raises:
        error: it is missing, no regular file, larger than `SIZE_LIMIT`, not text, or wrong as `read_mapping` says.
    """
    return read_mapping(read_text(path, wanted, limit=SIZE_LIMIT, error=error), str(path), keys, error)


def read_mapping(text: str, where: str, keys: str, error: type[AutotcError]) -> dict[str, object]:
    """The mapping that a YAML text holds.

    Args:
        text: one YAML document.
        where: the file, for errors.
        keys: what it should hold, for errors.
        error: class of the error to raise.

    Raises:
        error: the text is empty, too large, too deep or not YAML, holds a key twice, a value that no YAML type allows
            or an alias to what holds it, is no mapping, or has no ``version``.
    """
    where, expected = quote(where, 120).strip("'"), f"a mapping with {keys} is expected"
    if not text.strip():
        raise error(f"{where}: is empty; {expected}")
    if len(text) > SIZE_LIMIT:
        raise error(f"{where}: holds {len(text):,} characters; at most {SIZE_LIMIT:,} are allowed")
    try:
        wrong = _too_large(text)
        data = None if wrong else _load(text)
    except _KeyTwice as cause:
        raise error(f"{where}: {cause}; give each key once") from cause
    except yaml.YAMLError as cause:
        raise error(f"{where}:{_line(cause)} is not YAML; {expected}") from cause
    except (ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as cause:
        # PyYAML's own types fail so on what is not of them: month 13, !!bool foo, whole numbers of 5,000 digits.
        reason = one_line(cause, 100)
        raise error(f"{where}: holds a value that is not of its YAML type ({reason}); {expected}") from cause
    if wrong:
        raise error(f"{where}: {wrong}")
    if not isinstance(data, dict):
        raise error(f"{where}: holds {type(data).__name__}; {expected}")
    if "version" not in data:
        raise error(f"{where}: version: missing; version: 1 is right")
    return data


def _line(cause: yaml.YAMLError) -> str:
    mark = getattr(cause, "problem_mark", None)
    return f" line {mark.line + 1}" if mark is not None else ""


def _too_large(text: str) -> str | None:
    """What is too much of in a document, or None; counts values with aliases expanded, without expanding them."""
    if len(text) < VALUE_LIMIT and not _NESTED.search(text):
        return None
    depth = values = 0
    anchored: dict[str, int] = {}
    open_anchors: list[
        tuple[str | None, int]
    ] = []  # of the containers around: their anchor, and the values before them
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            anchor = str(event.anchor)
            if anchor in [other for other, _ in open_anchors]:
                return f"{_place(event)}: {quote('*' + anchor, 40)} stands within what it names"
            values += anchored.get(anchor, 1)
        elif isinstance(event, yaml.ScalarEvent):
            values += 1
            if event.anchor:
                anchored[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            open_anchors.append((event.anchor, values))
            values, depth = values + 1, depth + 1
        elif isinstance(event, yaml.CollectionEndEvent):
            name, before = open_anchors.pop()
            depth -= 1
            if name:
                anchored[name] = values - before
        if depth > DEPTH_LIMIT:
            return f"{_place(event)}: is nested deeper than {DEPTH_LIMIT} levels"
        if values > VALUE_LIMIT:
            return f"holds more than {VALUE_LIMIT:,} values, aliases expanded; the longest policies have some hundred"
    return None


def _place(event: yaml.Event) -> str:
    return "somewhere" if event.start_mark is None else f"line {event.start_mark.line + 1}"


class _KeyTwice(Exception):
    """A key stands twice in one mapping."""


def _load(text: str) -> object:
    """The values of a document, every key of which stands once.

    Raises:
        _KeyTwice: one stands twice.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_keys(loader, node, set())
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check_keys(loader: Any, node: yaml.Node, seen: set[int]) -> None:
    """See that every mapping below a node holds each key once; ``<<`` may be overridden, as YAML means it."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(loader, item, seen)
    if not isinstance(node, yaml.MappingNode):
        return
    keys: set[Hashable] = set()
    for key, value in node.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            name = loader.construct_object(key, deep=True)
            if name in keys:
                raise _KeyTwice(f"line {key.start_mark.line + 1}: {quote(name)} stands twice in one mapping")
            keys.add(name)
        _check_keys(loader, key, seen)
        _check_keys(loader, value, seen)


def parse(model: type[T], data: dict[str, object], where: str, error: type[AutotcError]) -> T:
    """A mapping as a typed model.

    Args:
        model: of the document.
        data: the mapping.
        where: the file, for errors.
        error: class of the error to raise.

    Raises:
        error: the first thing that is wrong, in one line: file, place, what is right, and the value given.
    """
    where = quote(where, 120).strip("'")
    try:
        return model.model_validate(data)
    except ValidationError as cause:
        raise error(one_line(f"{where}: {first_fault(cause, model)}")) from cause
    except AutotcError as cause:  # a validator of the model's own
        kind = type(cause) if issubclass(type(cause), error) else error
        raise kind(one_line(f"{where}: {cause}")) from cause


def first_fault(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing that pydantic found wrong: its place, what would be right, and the value that was given.

    Args:
        error: of the model's validation.
        model: that was validated; its keys and choices are what a misspelt one may have meant.
    """
    faults = error.errors(include_url=False)
    first = _misspelt(faults) or faults[0]
    place = ".".join(part if isinstance(part, str) and len(part) < 40 else quote(part, 40) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        hint = nearest(str(first["loc"][-1]), _keys(model, first["loc"][:-1]), listed=0)
        return f"{place}: unknown key; {hint or 'remove it or correct its name'}"
    if first["type"] == "missing":
        return f"{place}: missing"
    said = one_line(first["msg"], 120)
    if first["type"] == "literal_error" and isinstance(first["input"], str):
        place = place.removesuffix(".[key]")
        said += _end(nearest(first["input"], re.findall(r"'([^']*)'", first["ctx"]["expected"]), listed=0))
    return f"{place}: {said} (given {quote(first.get('input'))})"


def _misspelt(faults: list[ErrorDetails]) -> ErrorDetails | None:
    """Where the first fault is a key that is missing: the unknown key beside it that was written in its place."""
    first = faults[0]
    if first["type"] != "missing":
        return None
    beside = [
        fault for fault in faults if fault["type"] == "extra_forbidden" and fault["loc"][:-1] == first["loc"][:-1]
    ]
    return next((fault for fault in beside if near_names(str(fault["loc"][-1]), [str(first["loc"][-1])], 1)), None)


def _keys(model: type[BaseModel], place: tuple[int | str, ...]) -> list[str]:
    """Keys of the model that stands at a place of a document."""
    for part in place:
        field = model.model_fields.get(str(part))
        inner = None if field is None else _model_in(field.annotation)
        model = inner or model  # the number of an item, or the key of a mapping, leads to the model that it holds
    return list(model.model_fields)


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that a field's type holds: itself, of a list, of the values of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in get_args(annotation) if (model := _model_in(part))), None)


def _end(hint: str) -> str:
    return f"; {hint}" if hint else ""
