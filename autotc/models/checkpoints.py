"""What a name stands for: a hub name, a folder in the hub's layout, a shape known by name, the embedded model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotc.errors import DataError, UnsupportedModelError, quote
from autotc.lazy import PreTrainedConfig
from autotc.models.bound import BoundAdapter
from autotc.models.checkpoint_files import check_checkpoint_files
from autotc.models.load_errors import explained
from autotc.models.published import CONFIRMED, PUBLISHED, published_config
from autotc.models.registry import ADAPTERS
from autotc.models.settings import AS_STORED, Loading
from autotc.policy import ModelReference, Policy

EMBEDDED = "Qwen2_5OmniThinkerForConditionalGeneration"
"""Architecture of the embedded model."""


@dataclass(frozen=True)
class Checkpoint:
    """What a name stands for, weights apart.

    Attributes:
        name: as given; None for the embedded model.
        bound: adapter and configuration of the model that policies are applied to; where the checkpoint holds more (an
            Omni model with its talker), of that part.
        part: name of that model in a checkpoint that holds more.
    """

    name: str | None
    bound: BoundAdapter
    part: str | None = None

    @property
    def reference(self) -> ModelReference:
        """What a policy for the model says of it; without the fingerprint where only its size is known."""
        reference = self.bound.reference
        if self.name in PUBLISHED and self.name not in CONFIRMED:
            return ModelReference(architecture=reference.architecture)
        return reference


def find_checkpoint(name: str | None, loading: Loading = AS_STORED) -> Checkpoint:
    """The adapter and configuration of a name; nothing but a configuration is fetched.

    Args:
        name: a folder, a hub name, a name of `published`, or None for the embedded model.
        loading: its revision, and whether code of the checkpoint's own may run, count.

    Raises:
        DataError: there is no such checkpoint, or it cannot be read.
        UnsupportedModelError: no adapter knows its architecture.
    """
    if name is None:
        from autotc.tiny.config import build_config

        architecture, config = EMBEDDED, build_config()
    elif name in PUBLISHED:
        architecture, config = PUBLISHED[name][0], published_config(name)
    else:
        config = _config(name, loading)
        architecture = _architecture(name, config)
    for adapter in ADAPTERS:
        if architecture in adapter.architectures:
            return Checkpoint(name, BoundAdapter(adapter, config, architecture))
        if architecture in adapter.containers:
            part = adapter.containers[architecture]
            bound = BoundAdapter(adapter, getattr(config, f"{part}_config"), adapter.architectures[0])
            return Checkpoint(name, bound, part)
    known = ", ".join(known for adapter in ADAPTERS for known in (*adapter.architectures, *adapter.containers))
    raise UnsupportedModelError(
        f"model: {name} is a {architecture}, which is not supported; supported: {known}. A new family is one file in"
        " autotc/models/ (see Adapter)"
    )


def _architecture(name: str, config: PreTrainedConfig) -> str:
    """Class of the model in transformers, as its configuration names it."""
    names = config.architectures or ["none"]
    if not isinstance(names, list | tuple) or not isinstance(names[0], str):
        raise DataError(f"model: {name}: config.json: architectures: {quote(names)} given; a list of one name is right")
    return names[0]


def is_embedded(policy: Policy) -> bool:
    """Whether a policy is for the embedded model, or for any."""
    if policy.model is None:
        return True
    embedded = find_checkpoint(None).reference
    return policy.model.architecture == embedded.architecture and policy.model.fingerprint in (
        None,
        embedded.fingerprint,
    )


def policy_checkpoint(policy: Policy) -> Checkpoint | None:
    """What is known of the model of a policy by the policy alone.

    Returns:
        The embedded model where the policy is for it or for any; else a published shape of the policy's architecture,
        whose size may differ; None where none is known.
    """
    if policy.model is None or is_embedded(policy):
        return find_checkpoint(None)
    known = [name for name, (architecture, _) in PUBLISHED.items() if architecture == policy.model.architecture]
    return find_checkpoint(known[0]) if known else None


def _config(name: str, loading: Loading) -> Any:
    if os.path.isdir(name):
        if not os.path.isfile(os.path.join(name, "config.json")):
            raise DataError(
                f"model: {quote(name)} has no config.json; a folder as save_pretrained writes it is expected"
            )
        check_checkpoint_files(Path(name))
    elif os.path.lexists(name):
        kind = "a file" if os.path.isfile(name) else "no folder"
        raise DataError(f"model: {quote(name)} is {kind}; the folder of a checkpoint, or a hub name, is right")
    import transformers

    try:
        return transformers.AutoConfig.from_pretrained(
            name, revision=loading.revision or "main", trust_remote_code=loading.trust_remote_code
        )
    except Exception as error:  # transformers raises whatever a malformed file makes it stumble over
        raise explained(name, error, loading) from error
