"""What the outputs of a tower depend on, as hashes."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
import transformers
from torch import nn

from autotc.runtime.features import TowerCall
from autotc.stamp import Stamp

_FORMAT = 1
"""Of files and keys; another one finds nothing of this one's."""
_ROOMS = ("models", "runtime")
"""Folders of autotc whose code takes part in what is kept."""


def model_key(model: nn.Module, stamp: Stamp, device: torch.device) -> str:
    """Hash of what outputs depend on beside the inputs: the model, where and how it computes, and the code.

    Outputs are equal bit by bit only where all of it is: on a CPU the number of threads too.

    Args:
        model: that is run.
        stamp: of the model: configuration, weights, dtypes, attention.
        device: of requests.
    """
    computing: dict[str, object] = {
        "device": _device(device),
        "autocast": torch.is_autocast_enabled(device.type),
        "matmul": torch.get_float32_matmul_precision(),
        "tf32": torch.backends.cudnn.allow_tf32,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "compiled": any(getattr(module, "_compiled_call_impl", None) is not None for module in model.modules()),
        "placed": {str(key): str(value) for key, value in (getattr(model, "hf_device_map", None) or {}).items()},
    }
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "code": _code()}
    parts = [_FORMAT, stamp.model_dump(mode="json"), computing, versions]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def call_key(model: str, call: TowerCall, digests: Mapping[str, str]) -> str:
    """Modality, kind of result and 32 hexadecimal digits of the hash of all that a call's result depends on.

    Args:
        model: as `model_key` says it.
        call: the call.
        digests: of the request's tensors that the call takes, by name; others it names by their own.
    """
    inputs = [[parameter, digests.get(name, name)] for parameter, name in call.inputs]
    parts = [model, call.modality, call.method, call.settings, call.score, inputs]
    digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    return f"{call.modality}-{call.score or 'features'}-{digest}"


def _device(device: torch.device) -> list[object]:
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return ["cuda", properties.name, properties.major, properties.minor, torch.version.cuda]
    if device.type == "cpu":
        return ["cpu", platform.machine(), torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()]
    return [device.type]


@cache
def _code() -> str:
    """Hash of autotc's own code that takes part."""
    home, digest = Path(__file__).parents[2], hashlib.sha256()
    for room in _ROOMS:
        for file in sorted((home / room).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()
