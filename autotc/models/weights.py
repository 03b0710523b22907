"""Sizes of a checkpoint's weights, from the heads of its safetensors files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autotc.errors import DataError, one_line
from autotc.lazy import torch
from autotc.models.checkpoints import Checkpoint
from autotc.models.devices import free_bytes


def check_memory(checkpoint: Checkpoint, dtype: torch.dtype | None, where: Any, revision: str | None) -> None:
    """Refuse a model whose weights alone are larger than the memory that is free where they would go.

    Raises:
        DataError: they are, or weights are missing or cut short.
    """
    assert checkpoint.name is not None
    needed = weight_bytes(checkpoint, dtype, revision)
    free = free_bytes(where)
    if needed is not None and free is not None and needed > free:
        stored = str(dtype or getattr(checkpoint.bound.config, "dtype", None)).removeprefix("torch.")
        raise DataError(
            f"model: {checkpoint.name}: its weights take {needed / 1e9:.1f} GB as {stored} and"
            f" {where} has {free / 1e9:.1f} GB free, activations not counted; give --dtype bfloat16, another"
            " --device-map (auto divides a model over devices) or a smaller model"
        )


def weight_bytes(checkpoint: Checkpoint, dtype: torch.dtype | None, revision: str | None = None) -> int | None:
    """Bytes of a checkpoint's weights once loaded, from the heads of its safetensors files; None if it has none.

    Args:
        checkpoint: the checkpoint; of a whole only the part that runs counts.
        dtype: to load in; None for the checkpoint's.
        revision: on the hub.

    Raises:
        DataError: weights are missing or cut short.
    """
    stored = dtype or getattr(checkpoint.bound.config, "dtype", None)
    total = 0
    tensors = _tensors(str(checkpoint.name), revision)
    if tensors is None:
        return None
    for name, count, size, floating in tensors:
        if checkpoint.part is None or name.startswith(f"{checkpoint.part}."):
            # Packed integers of a quantised checkpoint stay what they are.
            total += count * stored.itemsize if floating and isinstance(stored, torch.dtype) else size
    return total


def _tensors(name: str, revision: str | None) -> Iterator[tuple[str, int, int, bool]] | None:
    """Name, elements, bytes, and whether they are floating, of each stored tensor; None where that is not known."""
    from huggingface_hub import get_local_safetensors_metadata, get_safetensors_metadata, snapshot_download
    from huggingface_hub.errors import NotASafetensorsRepoError, SafetensorsParsingError

    folder = Path(name)
    try:
        if folder.is_dir():
            files = get_local_safetensors_metadata(folder)
        else:
            try:
                files = get_safetensors_metadata(name, revision=revision)
            except OSError:  # no network: what is in the cache counts
                folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
                files = get_local_safetensors_metadata(folder)
    except NotASafetensorsRepoError as error:
        if folder.is_dir() and not [*folder.glob("*.bin")]:
            raise DataError(
                f"model: {name} has no weights; model.safetensors, or model.safetensors.index.json with the files that"
                " it names, is expected"
            ) from error
        return None
    except FileNotFoundError as error:
        raise DataError(
            f"model: {name} lacks {Path(str(error.filename)).name}, which its model.safetensors.index.json names; fetch"
            " it again"
        ) from error
    except (SafetensorsParsingError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise DataError(f"model: {name}: weights cannot be read ({one_line(error, 200)}); fetch them again") from error
    except OSError:
        return None  # what is wrong is told when it is loaded
    for file, head in files.files_metadata.items():
        end = max((t.data_offsets[1] for t in head.tensors.values()), default=0)
        if folder.is_dir() and (folder / file).stat().st_size < end:
            raise DataError(f"model: {name}: {file} is cut short; fetch it again")
    return (
        (
            key,
            tensor.parameter_count,
            tensor.data_offsets[1] - tensor.data_offsets[0],
            tensor.dtype.startswith("F") or tensor.dtype.startswith("BF"),
        )
        for head in files.files_metadata.values()
        for key, tensor in head.tensors.items()
    )
