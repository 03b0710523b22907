"""Dtypes and devices that a model can be loaded in, and the memory that is free there."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from autotc.errors import DataError, MissingDependencyError, one_line
from autotc.lazy import torch

DTYPES = ("auto", "float32", "bfloat16", "float16")
SPREADING = ("auto", "balanced", "balanced_low_0", "sequential")
"""Device maps that place a model on several devices, as accelerate names them."""


def usable_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """The dtype asked for; None for the checkpoint's.

    Raises:
        DataError: it is none that weights are loaded in.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype is None:
        return None
    if dtype not in DTYPES:
        raise DataError(f"dtype: {dtype!r} given; {', '.join(DTYPES)} are right")
    return None if dtype == "auto" else getattr(torch, dtype)


def usable_device(device_map: Any) -> Any:
    """The device or map asked for; None takes the GPU where there is one.

    Raises:
        DataError: there is no such device.
        MissingDependencyError: a map needs accelerate.
    """
    if device_map is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device_map in SPREADING or isinstance(device_map, dict):
        if not installed("accelerate"):
            raise MissingDependencyError(f"device_map: {device_map!r} needs accelerate; pip install accelerate")
        return device_map
    try:
        torch.empty(1, device=device_map)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise DataError(
            f"device_map: {device_map!r} is not there ({one_line(error, 100)}); cpu, cuda, cuda:1 and"
            f" {', '.join(SPREADING)} are known"
        ) from error
    return device_map


def installed(package: str) -> bool:
    """Whether a package is there."""
    return importlib.util.find_spec(package) is not None


def free_bytes(where: Any) -> int | None:
    """Free memory where a device map puts a model; None where that is not known."""
    if where in SPREADING:
        devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        parts = [free_bytes(device) for device in (*devices, "cpu")]
        return None if None in parts else sum(part for part in parts if part is not None)
    if isinstance(where, dict):
        return None
    device = torch.device(where)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type != "cpu":
        return None
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    free = next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)
    try:  # of a container
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return free
    return limit if free is None else min(free, limit)
