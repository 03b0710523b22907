"""A checkpoint's own files, looked at before transformers reads them: each is whole, and of the right form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autotc import files
from autotc.errors import DataError, one_line, quote

SETTINGS = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.json",
    "vocab.json",
    "chat_template.json",
)
"""JSON files of a checkpoint, each one object."""
INDEX = "model.safetensors.index.json"
TEMPLATE = "chat_template.jinja"
_LIMIT = 256 * 2**20
"""Bytes of the largest of them that is read: a tokenizer of a quarter of a million words takes 40 MB."""
_REMEDY = "fetch the checkpoint again"


def check_checkpoint_files(folder: Path) -> None:
    """See that the small files of a checkpoint's folder can be read, and are what they should be.

    transformers passes over some that it cannot read (``generation_config.json``), and fails on others far from them.

    Raises:
        DataError: a file is cut short, of another form, or holds a value of another type; the message names it.
    """
    for name in SETTINGS:
        if (folder / name).exists():
            values = _object(folder / name)
            if name == "generation_config.json":
                _check_generation(folder / name, values)
    if (folder / INDEX).exists():
        _check_index(folder / INDEX)
    if (folder / TEMPLATE).exists():
        check_template(files.read_text(folder / TEMPLATE, "a chat template"), f"{folder / TEMPLATE}")


def check_template(template: Any, named: str) -> None:
    """See that a chat template is a template.

    Args:
        template: text, or several by name.
        named: where it stands, for errors.

    Raises:
        DataError: it is no text, or no template of jinja.
    """
    import jinja2
    from transformers.utils import chat_template_utils

    if isinstance(template, Mapping):
        for name, text in template.items():
            check_template(text, f"{named}: {name}")
        return
    if not isinstance(template, str):
        raise DataError(f"model: {named}: {quote(template)} given; the text of a chat template is right")
    try:
        chat_template_utils._compile_jinja_template(template)  # noqa: SLF001 - knows transformers' own tags
    except jinja2.TemplateError as error:
        line = getattr(error, "lineno", None)
        where = "" if line is None else f"line {line}: "
        raise DataError(
            f"model: {named}: is no chat template ({where}{one_line(error, 120)}); {_REMEDY}"
        ) from error  # fmt: skip


def _object(path: Path) -> dict[str, Any]:
    """The object that a JSON file holds."""
    text = files.read_text(path, "a JSON object", limit=_LIMIT)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"model: {path}: is no JSON ({one_line(error, 120)}); {_REMEDY}") from error
    if not isinstance(values, dict):
        raise DataError(f"model: {path}: holds {quote(values)}; an object is right; {_REMEDY}")
    return values


def _check_generation(path: Path, values: Mapping[str, Any]) -> None:
    """See that the ids of special tokens are ids: generation would never end at others."""
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = values.get(name)
        numbers = value if isinstance(value, list) else [] if value is None else [value]
        if not all(type(number) is int for number in numbers):
            raise DataError(f"model: {path}: {name}: {quote(value)} given; a token's number or a list of them is right")


def _check_index(path: Path) -> None:
    """See that an index names weight files of its own folder."""
    weights = _object(path).get("weight_map")
    if not isinstance(weights, dict) or not weights:
        raise DataError(f"model: {path}: weight_map: {quote(weights)} given; weights and their files are right")
    for name in weights.values():
        if not isinstance(name, str) or Path(name).name != name:
            raise DataError(f"model: {path}: weight_map: {quote(name)} given; a file of the same folder is right")
