"""What a policy says of the model it is for: a hash over the structural fields of a configuration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from autotc.lazy import PreTrainedConfig

TEXT_FIELDS = (
    "text_config.hidden_size",
    "text_config.num_hidden_layers",
    "text_config.num_attention_heads",
    "text_config.num_key_value_heads",
    "text_config.intermediate_size",
    "text_config.vocab_size",
)
"""Structural fields of a language model that most families share."""


def config_fingerprint(config: PreTrainedConfig, structural: Iterable[str]) -> str:
    """``sha256:`` and 32 hexadecimal digits over listed fields of a configuration.

    Other fields change with every release of transformers, and do not count.

    Args:
        config: of the model.
        structural: names of fields; dots lead into parts of the configuration.
    """
    values = {}
    for path in structural:
        value = config
        for part in path.split("."):
            value = getattr(value, part)
        values[path] = value
    text = json.dumps(values, sort_keys=True, default=str)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()[:32]
