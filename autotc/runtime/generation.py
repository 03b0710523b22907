"""``generate()`` under a policy: what no hook on a forward can know."""

from __future__ import annotations

import functools
import inspect
import threading
from typing import Any

from torch import Tensor, nn

from autotc.errors import InputsError
from autotc.runtime.cache import CACHE
from autotc.runtime.encoders import Encoders
from autotc.runtime.hooks import Hooks

_REFUSED = {
    "prefill_chunk_size": "chunks of a prompt cannot be reduced one by one; leave it out",
    "assistant_early_exit": "the model's own first layers cannot draft while their tokens are reduced; leave it out",
}
"""Settings of ``generate()`` -> why they do not go with a policy."""


class Generation:
    """Calls of a model's ``generate()``, one inside another where it assists itself.

    Args:
        model: whose.
        encoders: of the model.
        lock: held while one runs.
    """

    def __init__(self, model: nn.Module, encoders: Encoders, lock: threading.RLock) -> None:
        self._model: Any = model
        self._encoders, self._lock = encoders, lock
        # Tokens of the prompts of the running calls.
        self._lengths: list[int | None] = []

    def attach(self, hooks: Hooks) -> None:
        """Put the model's ``generate()`` under the policy, where it has one."""
        inner = getattr(self._model, "generate", None)
        if inner is None:
            return
        signature = inspect.signature(inner)

        # transformers looks at the signature.
        @functools.wraps(inner)
        def generate(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                arguments = dict(signature.bind_partial(*args, **kwargs).arguments)
                arguments |= arguments.pop("kwargs", {})
                uncached = self._setting(arguments, "use_cache") is False
                self._check(arguments)
                self._encoders.forget()
                kwargs = self._encoders.take_originals(kwargs)
                self._lengths.append(_prompt_length(arguments))
                try:
                    # A policy acts on a prompt once. What is decoded without a cache is what is decoded on one; only
                    # on one are the tokens that were removed gone for good.
                    out = inner(*args, **kwargs | ({"use_cache": True} if uncached else {}))
                finally:
                    self._lengths.pop()
                    self._encoders.forget()
            if uncached and isinstance(out, dict) and out.get(CACHE) is not None:
                out[CACHE] = None
            return out

        hooks.replace(self._model, "generate", generate)

    @property
    def running(self) -> bool:
        """Whether a call of the model comes from ``generate()``."""
        return bool(self._lengths)

    def drafts(self, length: int) -> int:
        """How many of the last tokens of a conversation of ``length`` are behind the prompt: drafts of an assistant."""
        prompt = self._lengths[-1] if self._lengths else None
        return 0 if prompt is None else max(0, length - prompt)

    def _setting(self, arguments: dict[str, Any], name: str) -> Any:
        """A setting: of the call, else of the configuration given with it, else of the model's."""
        given = arguments.get(name)
        for config in (arguments.get("generation_config"), getattr(self._model, "generation_config", None)):
            given = getattr(config, name, None) if given is None else given
        return given

    def _check(self, arguments: dict[str, Any]) -> None:
        for name, reason in _REFUSED.items():
            value = self._setting(arguments, name)
            if value is not None:
                raise InputsError(f"{name}: {value!r} given; under a policy {reason}")


def _prompt_length(arguments: dict[str, Any]) -> int | None:
    """Tokens of the whole conversation that a call of ``generate()`` goes on from; None where it does not say."""
    mask = arguments.get("attention_mask")
    if isinstance(mask, Tensor) and mask.dim() == 2:
        return int(mask.shape[1])
    for name in ("inputs_embeds", "input_ids", "inputs"):
        value = arguments.get(name)
        if isinstance(value, Tensor) and value.dim() >= 2:
            return int(value.shape[1])
    return None
