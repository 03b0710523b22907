"""Files of kept outputs: safetensors with a checksum, written whole or not at all, read through the page cache.

The data begin at a multiple of 64 bytes, as torch's own tensors do: what is read is computed with as what was made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from autotc.evaluate.towers.packing import Packed
from autotc.files import replacing

_ALIGNMENT = 64
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_CHUNK = 16 * 2**20
"""Bytes that are hashed and written at a time."""


class DamagedError(Exception):
    """A file does not hold what was written to it."""


def write_packed(path: Path, key: str, packed: Packed) -> None:
    """Write an output to a file; until it is whole on the disk, what stood there stays.

    Args:
        path: of the file.
        key: what the output is known by; a reader asks for the same.
        packed: the output.

    Raises:
        DataError: it cannot be written.
        TypeError: a tensor is of a dtype that files do not hold.
    """
    tree = json.dumps(packed.tree)
    tensors = _ordered(packed)
    entries: dict[str, object] = {
        "__metadata__": {"key": key, "tree": tree, "sha256": _checksum(key, tree, tensors)},
    }
    at = 0
    for name, tensor in tensors:
        entries[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + tensor.nbytes],
        }
        at += tensor.nbytes
    head = json.dumps(entries).encode()
    head += b" " * (-(len(head) + 8) % _ALIGNMENT)
    with replacing(path) as beside, open(beside, "wb") as file:
        file.write(len(head).to_bytes(8, "little"))
        file.write(head)
        for _, tensor in tensors:
            for chunk in _chunks(tensor):
                file.write(chunk)


def read_packed(path: Path, key: str, *, verify: bool) -> Packed:
    """An output from a file; its tensors are views of the file's pages in memory, which processes share.

    Args:
        path: of the file.
        key: what the output is known by.
        verify: whether to read all of it and compare its checksum.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it does not hold what was written to it.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            names = {*file.keys()}
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in names}
        packed = Packed(json.loads(metadata["tree"]), tensors)
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DamagedError(str(error)) from error
    if metadata.get("key") != key:
        raise DamagedError("it is of something else")
    if verify:
        try:
            found = _checksum(key, metadata["tree"], _ordered(packed))
        except TypeError as error:
            raise DamagedError(str(error)) from error
        if found != metadata.get("sha256"):
            raise DamagedError("its checksum differs")
    return packed


def _ordered(packed: Packed) -> list[tuple[str, Tensor]]:
    """Tensors as they stand in the file: widest values first, so that each stands at a multiple of its width.

    Raises:
        TypeError: one is of a dtype that files do not hold.
    """
    for tensor in packed.tensors.values():
        if tensor.dtype not in _DTYPES:
            raise TypeError(f"{tensor.dtype}: cannot be kept")
    return sorted(packed.tensors.items(), key=lambda item: (-item[1].itemsize, item[0]))


def _checksum(key: str, tree: str, tensors: list[tuple[str, Tensor]]) -> str:
    digest = hashlib.sha256(f"{key}\0{tree}\0".encode())
    for name, tensor in tensors:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        for chunk in _chunks(tensor):
            digest.update(chunk)
    return digest.hexdigest()


def _chunks(tensor: Tensor) -> Iterator[bytes]:
    """A tensor's values as bytes, some at a time."""
    content = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    for start in range(0, len(content), _CHUNK):
        yield content[start : start + _CHUNK].tobytes()
