"""Random keys: every policy of a conditional space as a point of one fixed cube."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from autotc.policy import Policy
from autotc.search.space import SearchSpace


class Keys:
    """Random-key encoding of a space (Bean 1994, doi 10.1287/ijoc.6.2.154).

    Every parameter that `SearchSpace.suggest` could ask for has a number in [0, 1], whether it is asked for or not.
    What is asked for takes the value in whose equal share of the interval the number lies. So any two policies can be
    crossed, parameter by parameter, which the conditional parameters themselves do not allow.

    Attributes:
        names: of the parameters, in a fixed order.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self.names = space.names()

    def decode(self, keys: Mapping[str, float]) -> Policy:
        """The policy that a point stands for; it may conflict by rule."""
        return self._space.suggest(_Reader(keys))

    def encode(
        self, policy: Policy, rng: np.random.Generator, keys: Mapping[str, float] = MappingProxyType({})
    ) -> dict[str, float]:
        """A point that stands for a policy, as far as it lies inside the space.

        Args:
            policy: to encode.
            rng: draws what the policy leaves open.
            keys: in place of draws, such as those that the policy was made from before it was moved onto a budget.
        """
        params = self._space.encode_known(policy)
        writer = _Writer(params)
        for modality in self._space.modalities:
            if modality in params:
                self._space.suggest_modality(writer, modality)
        return {name: writer.keys.get(name, keys.get(name, float(rng.random()))) for name in self.names}


class _Reader:
    """Stands for a trial and reads values off keys."""

    def __init__(self, keys: Mapping[str, float]) -> None:
        self._keys = keys

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """The choice in whose share the key lies."""
        return choices[min(int(self._keys[name] * len(choices)), len(choices) - 1)]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """The number in whose share the key lies."""
        return int(self.suggest_categorical(name, range(low, high + 1, step)))


class _Writer:
    """Stands for a trial with given values and notes the middle of each one's share."""

    def __init__(self, params: Mapping[str, Any]) -> None:
        self._params = params
        self.keys: dict[str, float] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """The given value."""
        value = self._params[name]
        self.keys[name] = (list(choices).index(value) + 0.5) / len(choices)
        return value

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """The given value."""
        return int(self.suggest_categorical(name, range(low, high + 1, step)))
