"""What is kept of each batch: in files that other processes share, or else in this one's memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import cached_property

import torch
from torch import Tensor, nn

from autotc.evaluate.towers.cache import TowerCache
from autotc.evaluate.towers.keys import call_key, model_key
from autotc.evaluate.towers.packing import Packed, pack, unpack
from autotc.runtime.features import TowerCall, tensor_digest
from autotc.stamp import Stamp

KEPT_BYTES = 4 * 10**9
"""Of outputs that a process keeps in memory, where they are not in files."""


class Towers:
    """Keeps outputs of one model's towers.

    Args:
        model: in evaluation mode; its weights stay as they are.
        stamp: makes the model's stamp.
        device: says where requests go.
        cache: that processes share; None for this one's memory alone.
    """

    def __init__(
        self,
        model: nn.Module,
        stamp: Callable[[], Stamp],
        device: Callable[[], torch.device],
        cache: TowerCache | None,
    ) -> None:
        self._model, self._stamp, self._device = model, stamp, device
        self.cache = cache
        self.free = KEPT_BYTES

    @cached_property
    def device(self) -> torch.device:
        """Where requests go."""
        return self._device()

    @cached_property
    def model_key(self) -> str:
        """Hash of what outputs depend on beside the inputs."""
        return model_key(self._model, self._stamp(), self.device)

    def of(self, inputs: Mapping[str, object]) -> BatchTowers:
        """What is kept of a batch.

        Args:
            inputs: of the batch, in the host's memory; they never change.
        """
        return BatchTowers(self, inputs)


class BatchTowers(MutableMapping[TowerCall, object]):
    """A `autotc.runtime.features.TowerStore` of one batch; iterating goes over what this process knows of.

    Args:
        towers: of the model.
        inputs: of the batch, in the host's memory.
    """

    def __init__(self, towers: Towers, inputs: Mapping[str, object]) -> None:
        self._towers, self._inputs = towers, inputs
        self._memory: dict[TowerCall, Packed] = {}
        self._keys: dict[TowerCall, str] = {}
        self._digests: dict[str, str] = {}

    def _key(self, call: TowerCall) -> str:
        if call not in self._keys:
            for _, name in call.inputs:
                value = self._inputs.get(name)
                if name not in self._digests and isinstance(value, Tensor):
                    self._digests[name] = tensor_digest(value)
            self._keys[call] = call_key(self._towers.model_key, call, self._digests)
        return self._keys[call]

    def __getitem__(self, call: TowerCall) -> object:
        packed = self._memory.get(call)
        if packed is None and self._towers.cache is not None:
            packed = self._towers.cache.get(self._key(call))
        if packed is None:
            raise KeyError(call)
        return unpack(packed, self._towers.device)

    def __contains__(self, call: object) -> bool:
        if not isinstance(call, TowerCall):
            return False
        cache = self._towers.cache
        return call in self._memory or (cache is not None and self._key(call) in cache)

    def __setitem__(self, call: TowerCall, value: object) -> None:
        try:
            packed = pack(value, self._towers.device)
        except TypeError:  # an output of a kind that is not known; its tower runs each time
            return
        cache = self._towers.cache
        if cache is not None and cache.put(self._key(call), packed):
            return
        if packed.nbytes <= self._towers.free:
            self._towers.free -= packed.nbytes
            self._memory[call] = packed

    def __delitem__(self, call: TowerCall) -> None:
        self._towers.free += self._memory.pop(call).nbytes

    def __iter__(self) -> Iterator[TowerCall]:
        return iter([*self._memory, *(call for call in self._keys if call not in self._memory and call in self)])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def clear(self) -> None:
        """Let go of what is in memory; files stay."""
        for call in [*self._memory]:
            del self[call]
