"""JSON Schemas of policies and search spaces, made from the pydantic models, for editors.

Draft 7, which every editor's language server knows. What the models check in code and a schema can say is added: which
parameters, modalities and locations a mechanism has, and where a stage needs a layer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import BaseModel

from autotc.budgets import AdaptiveBudget
from autotc.export import ENGINES
from autotc.mechanisms import MECHANISMS
from autotc.models.registry import ADAPTERS
from autotc.policy import Measured, ModelReference, Policy, Stage
from autotc.presets import PRESETS
from autotc.schemas import Kind
from autotc.search.space.model import Choice, ModalitySpace, SearchSpace
from autotc.vocabulary import MODALITIES, Modality

from .descriptions import of_fields, plain, summary

DRAFT = "http://json-schema.org/draft-07/schema#"
BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
"""Bound of pydantic -> keyword of JSON Schema."""
MODELS: dict[str, type[BaseModel]] = {
    model.__name__: model
    for model in (Policy, Stage, AdaptiveBudget, ModelReference, Measured, SearchSpace, ModalitySpace, Choice)
}
Schema = dict[str, Any]


def text(kind: Kind) -> str:
    """The file of a schema."""
    schema = policy_schema() if kind == "policy" else space_schema()
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def policy_schema() -> Schema:
    """The schema of policy files."""
    schema = _drafted(Policy)
    schema["required"] = ["version"]
    parts = schema["definitions"]
    architecture = parts["ModelReference"]["properties"]["architecture"]
    known = sorted(name for adapter in ADAPTERS for name in adapter.architectures)
    architecture["anyOf"] = [{"enum": known}, {"type": architecture.pop("type")}]
    stage = parts["Stage"]
    stage["properties"]["mechanism"].update(_mechanism_names())
    stage["properties"]["layers"]["anyOf"][0]["propertyNames"] = {"pattern": r"^\d+$"}
    stage["properties"]["budget"]["anyOf"].insert(0, {"enum": ["adaptive", "fixed"]})
    stage["allOf"] = [_placed(), *_by_mechanism(("modality", "location"))]
    return schema


def space_schema() -> Schema:
    """The schema of search space files."""
    schema = _drafted(SearchSpace)
    schema["required"] = ["version", "modalities"]
    parts = schema["definitions"]
    modalities = schema["properties"]["modalities"]
    modality = modalities.pop("additionalProperties")
    del modalities["propertyNames"]
    modalities["properties"] = {name: {"allOf": [modality, _taking(name)]} for name in MODALITIES}
    modalities |= {"additionalProperties": False, "minProperties": 1}
    schema["properties"]["deployable_on"]["anyOf"][0]["enum"] = list(ENGINES)
    parts["ModalitySpace"]["properties"]["presets"]["anyOf"][0]["items"]["enum"] = list(PRESETS)
    parts["ModalitySpace"]["properties"]["choices"]["minItems"] = 1
    choice = parts["Choice"]
    choice["properties"]["mechanism"].update(_mechanism_names())
    choice["properties"]["budget"]["anyOf"].insert(0, {"enum": ["adaptive", "fixed"]})
    layered = {"properties": {"location": {"enum": ["encoder", "decoder"]}}}
    choice["allOf"] = [
        {"if": layered, "then": {"oneOf": [{"required": ["layers"]}, {"required": ["depth"]}]}},
        *_by_mechanism(("location",)),
    ]
    return schema


def _drafted(model: type[BaseModel]) -> Schema:
    """What pydantic says of a model, in draft 7, with the descriptions of its docstrings."""
    made = model.model_json_schema(ref_template="#/definitions/{model}")
    made["definitions"] = made.pop("$defs")
    for name, part in [(model.__name__, made), *made["definitions"].items()]:
        if name in MODELS:
            _describe(part, MODELS[name])
    for part in _parts(made):
        _translate(part)
    return {"$schema": DRAFT, **made}


def _describe(part: Schema, model: type[BaseModel]) -> None:
    part["description"] = summary(model)
    for name, description in of_fields(model).items():
        part["properties"][name]["description"] = description


def _parts(schema: object) -> Iterator[Schema]:
    """Every mapping within a schema, the innermost first."""
    items = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    for item in items:
        yield from _parts(item)
    if isinstance(schema, dict):
        yield schema


def _translate(part: Schema) -> None:
    """Write what pydantic says of one value in the words of draft 7."""
    if isinstance(part.get("title"), str):  # a field may have the name
        del part["title"]
    for bound, keyword in BOUNDS.items():
        if bound in part and not isinstance(part[bound], dict):
            part[keyword] = part.pop(bound)
    if "prefixItems" in part:
        part["items"] = part.pop("prefixItems")
    if "$ref" in part and len(part) > 1:  # what stands beside a reference does not count in draft 7
        part["allOf"] = [{"$ref": part.pop("$ref")}]
    if part.get("default", 0) is None:
        del part["default"]


def _mechanism_names() -> Schema:
    return {
        "enum": list(MECHANISMS),
        "enumDescriptions": [f"{cls.family}: {summary(cls)}" for cls in MECHANISMS.values()],
    }


def _taking(modality: Modality) -> Schema:
    """That the mechanisms and the presets of a modality's space take it."""
    mechanisms = {"enum": [name for name, cls in MECHANISMS.items() if modality in cls.modalities]}
    presets = {"enum": [name for name, preset in PRESETS.items() if modality in preset.modalities]}
    choices = {"items": {"properties": {"mechanism": mechanisms}}}
    return {"properties": {"choices": choices, "presets": {"items": presets}}}


def _placed() -> Schema:
    """Where a stage has a layer, or layers, and where it has none."""
    absent = {"type": "null"}
    one = {"required": ["layer", "keep_ratio"], "properties": {"layers": absent}}
    several = {"required": ["layers"], "properties": {"layer": absent, "keep_ratio": absent}}
    return {
        "if": {"properties": {"location": {"enum": ["encoder", "decoder"]}}, "required": ["location"]},
        "then": {"oneOf": [one, several]},
        "else": {"required": ["keep_ratio"], "properties": {"layer": absent, "layers": absent}},
    }


def _by_mechanism(keys: Sequence[Literal["modality", "location"]]) -> list[Schema]:
    """What each mechanism allows in other keys of a stage, and its parameters."""
    rules = []
    for name, cls in MECHANISMS.items():
        allowed = {"modality": cls.modalities, "location": cls.locations}
        then: Schema = {**{key: {"enum": list(allowed[key])} for key in keys}, "params": _params(cls.Params)}
        condition = {"properties": {"mechanism": {"const": name}}, "required": ["mechanism"]}
        rules.append({"if": condition, "then": {"properties": then}})
    return rules


def _params(model: type[BaseModel]) -> Schema:
    """Parameters of a mechanism."""
    made = model.model_json_schema()
    descriptions = of_fields(model)
    for name, field in made.get("properties", {}).items():
        if name in descriptions:
            field["description"] = descriptions[name]
    for part in _parts(made):
        _translate(part)
    first = plain((model.__doc__ or "").strip().partition("\n")[0])
    return {"description": first, **{key: made[key] for key in ("type", "properties", "required") if key in made}} | {
        "additionalProperties": False
    }
