"""Checkpoints: model, processor and adapter of a hub name, or of a folder in the hub's layout."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from autotc.errors import DataError, MissingDependencyError, UnsupportedModelError
from autotc.models.adapter import Adapter
from autotc.models.registry import ADAPTERS

DTYPES = ("auto", "float32", "bfloat16", "float16")
SPREADING = ("auto", "balanced", "balanced_low_0", "sequential")
"""Device maps that place a model on several devices, as accelerate names them."""
_EMBEDDED = "Qwen2_5OmniThinkerForConditionalGeneration"
_HUB_ERRORS = {
    "GatedRepoError": "is gated: accept its terms on its page on the hub and log in with hf auth login",
    "RevisionNotFoundError": "has no such revision; give --revision a branch, tag or commit of it",
    "RepositoryNotFoundError": "is neither a folder here nor a name on the hub (or private: log in with hf auth login)",
    "LocalEntryNotFoundError": "is not in the cache, and the hub cannot be reached; give a folder, or mend the network",
    "OfflineModeIsEnabled": "is not in the cache, and HF_HUB_OFFLINE forbids to fetch it; give a folder",
}
"""Error of the hub's client -> what to say of a name."""


@dataclass(frozen=True)
class Checkpoint:
    """What a name stands for, weights apart.

    Attributes:
        name: as given; None for the embedded model.
        adapter: of the model that policies are applied to.
        config: of that model; where the checkpoint holds more (an Omni model with its talker), of that part.
        architecture: class of that model in transformers.
        part: name of that model in a checkpoint that holds more.
    """

    name: str | None
    adapter: Adapter
    config: Any
    architecture: str
    part: str | None = None


def find_checkpoint(name: str | None, *, revision: str | None = None, trust_remote_code: bool = False) -> Checkpoint:
    """The adapter and configuration of a name; nothing but a configuration is fetched.

    Args:
        name: a folder, a hub name, a name of `published`, or None for the embedded model.
        revision: branch, tag or commit on the hub.
        trust_remote_code: whether code of the checkpoint's own may run.

    Raises:
        DataError: there is no such checkpoint, or it cannot be read.
        UnsupportedModelError: no adapter knows its architecture.
    """
    from autotc.models.published import PUBLISHED, published_config

    if name is None:
        from autotc.tiny.config import build_config

        architecture, config = _EMBEDDED, build_config()
    elif name in PUBLISHED:
        architecture, config = PUBLISHED[name][0], published_config(name)
    else:
        config = _config(name, revision, trust_remote_code)
        architecture = (config.architectures or ["none"])[0]
    for adapter in ADAPTERS:
        if architecture in adapter.architectures:
            return Checkpoint(name, adapter, config, architecture)
        if architecture in adapter.wholes:
            part = adapter.wholes[architecture]
            return Checkpoint(name, adapter, getattr(config, f"{part}_config"), adapter.architectures[0], part)
    known = ", ".join(known for adapter in ADAPTERS for known in (*adapter.architectures, *adapter.wholes))
    raise UnsupportedModelError(
        f"model: {name} is a {architecture}, which is not supported; supported: {known}. A new family is one file in"
        " autotc/models/ (see Adapter)"
    )


def load(
    name: str,
    *,
    dtype: str | torch.dtype = "auto",
    device_map: Any = None,
    attn_implementation: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> tuple[Any, Any]:
    """A checkpoint's model, in eval mode, and its processor.

    Args:
        name: a folder in the hub's layout, or a hub name. Of a whole Omni checkpoint the thinker is loaded.
        dtype: of the weights: auto (the checkpoint's), float32, bfloat16 or float16.
        device_map: a device, or a map as accelerate takes it; None takes the GPU where there is one.
        attn_implementation: as transformers names it; None takes the model's own.
        revision: branch, tag or commit on the hub.
        trust_remote_code: whether code of the checkpoint's own may run.

    Raises:
        DataError: files are missing, the name cannot be fetched, an option is unknown, or the model does not fit.
        UnsupportedModelError: no adapter knows its architecture.
        MissingDependencyError: the attention or the device map needs a package that is not installed.
    """
    import transformers

    from autotc.models.published import PUBLISHED

    if name in PUBLISHED:
        raise DataError(f"model: {name} is a shape known by name, without weights; give a folder or a hub name")
    number, where = usable_dtype(dtype), usable_device(device_map)
    found = find_checkpoint(name, revision=revision, trust_remote_code=trust_remote_code)
    processor = _processor(name, revision, trust_remote_code)
    _check_memory(found, number, where, revision)
    options: dict[str, Any] = {
        "dtype": "auto" if number is None else number,
        "revision": revision or "main",
        "trust_remote_code": trust_remote_code,
    }
    if attn_implementation is not None:
        options["attn_implementation"] = attn_implementation
    placed = where != "cpu" and (where in SPREADING or not isinstance(where, str) or _installed("accelerate"))
    if placed:
        options["device_map"] = where
    try:
        model = getattr(transformers, found.architecture).from_pretrained(name, **options)
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        raise _explained(name, error, attn_implementation) from error
    return (model if placed else model.to(where)).eval(), processor


def _config(name: str, revision: str | None, trust_remote_code: bool) -> Any:
    import transformers

    folder = Path(name)
    if folder.is_file():
        raise DataError(f"model: {name} is a file; the folder around it, or a hub name, is right")
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise DataError(f"model: {name} has no config.json; a folder as save_pretrained writes it is expected")
    try:
        return transformers.AutoConfig.from_pretrained(
            name, revision=revision or "main", trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise _explained(name, error) from error


def _processor(name: str, revision: str | None, trust_remote_code: bool) -> Any:
    """The checkpoint's processor, padding on the left as generation needs it."""
    import transformers

    lacking = "model: {} has no {}; processor, tokenizer and chat template are expected beside the weights"
    try:
        processor = transformers.AutoProcessor.from_pretrained(
            name, revision=revision or "main", trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, ImportError, KeyError, TypeError) as error:
        if _hub_error(error) is None and Path(name).is_dir():
            raise DataError(
                lacking.format(name, "processor that can be read") + f" ({_one_line(error)[:200]})"
            ) from error
        raise _explained(name, error) from error
    # Where its own files are missing, transformers hands out the tokenizer alone, or the image processor.
    if not hasattr(processor, "tokenizer"):
        raise DataError(lacking.format(name, "processor_config.json, preprocessor_config.json or tokenizer"))
    if getattr(processor, "chat_template", None) is None:
        raise DataError(lacking.format(name, "chat template (chat_template.jinja)"))
    processor.tokenizer.padding_side = "left"
    if processor.tokenizer.pad_token is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor


def usable_dtype(dtype: str | torch.dtype) -> torch.dtype | None:
    """The dtype asked for; None for the checkpoint's.

    Raises:
        DataError: it is none that weights are loaded in.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
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
        if not _installed("accelerate"):
            raise MissingDependencyError(f"device_map: {device_map!r} needs accelerate; pip install accelerate")
        return device_map
    try:
        torch.empty(1, device=device_map)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise DataError(
            f"device_map: {device_map!r} is not there ({_one_line(error)[:100]}); cpu, cuda, cuda:1 and"
            f" {', '.join(SPREADING)} are known"
        ) from error
    return device_map


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


# --- memory ---


def _check_memory(found: Checkpoint, dtype: torch.dtype | None, where: Any, revision: str | None) -> None:
    """Refuse a model whose weights alone are larger than the memory that is free where they would go.

    Raises:
        DataError: they are, or weights are missing or cut short.
    """
    assert found.name is not None
    needed = weight_bytes(found, dtype, revision)
    free = free_bytes(where)
    if needed is not None and free is not None and needed > free:
        stored = dtype or getattr(found.config, "dtype", None)
        raise DataError(
            f"model: {found.name}: its weights take {needed / 1e9:.1f} GB as {str(stored).removeprefix('torch.')} and"
            f" {where} has {free / 1e9:.1f} GB free, activations not counted; give --dtype bfloat16, another"
            " --device-map (auto divides a model over devices) or a smaller model"
        )


def weight_bytes(found: Checkpoint, dtype: torch.dtype | None, revision: str | None = None) -> int | None:
    """Bytes of a checkpoint's weights once loaded, from the heads of its safetensors files; None if it has none.

    Args:
        found: the checkpoint; of a whole only the part that runs counts.
        dtype: to load in; None for the checkpoint's.
        revision: on the hub.

    Raises:
        DataError: weights are missing or cut short.
    """
    stored = dtype or getattr(found.config, "dtype", None)
    total = 0
    tensors = _tensors(str(found.name), revision)
    if tensors is None:
        return None
    for name, count, size, floating in tensors:
        if found.part is None or name.startswith(f"{found.part}."):
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
            found = get_local_safetensors_metadata(folder)
        else:
            try:
                found = get_safetensors_metadata(name, revision=revision)
            except OSError:  # no network: what is in the cache counts
                folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
                found = get_local_safetensors_metadata(folder)
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
    except (SafetensorsParsingError, ValueError) as error:
        raise DataError(
            f"model: {name}: weights cannot be read ({_one_line(error)[:200]}); fetch them again"
        ) from error
    except OSError:
        return None  # what is wrong is told when it is loaded
    for file, head in found.files_metadata.items():
        end = max((t.data_offsets[1] for t in head.tensors.values()), default=0)
        if folder.is_dir() and (folder / file).stat().st_size < end:
            raise DataError(f"model: {name}: {file} is cut short; fetch it again")
    return (
        (key, tensor.parameter_count, tensor.data_offsets[1] - tensor.data_offsets[0], tensor.dtype.startswith("F")
         or tensor.dtype.startswith("BF"))
        for head in found.files_metadata.values()
        for key, tensor in head.tensors.items()
    )  # fmt: skip


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


# --- what went wrong ---


def _one_line(text: object) -> str:
    return " ".join(str(text).split())


def _hub_error(error: BaseException | None) -> str | None:
    """What an error of the hub's client, somewhere in the chain of causes, says of a name."""
    while error is not None:
        for kind in type(error).__mro__:
            if kind.__name__ in _HUB_ERRORS:
                return _HUB_ERRORS[kind.__name__]
        error = error.__cause__ or error.__context__
    return None


def _explained(name: str, error: BaseException, attention: str | None = None) -> DataError | MissingDependencyError:
    """An error of transformers in one line: what, where, what would be right."""
    text = _one_line(error)
    hub = None if Path(name).is_dir() else _hub_error(error)
    if hub is not None:
        return DataError(f"model: {name} {hub}")
    if attention is not None and ("attn_implementation" in text or "attention" in text.lower()):
        if isinstance(error, ImportError):
            return MissingDependencyError(
                f"attn_implementation: {attention!r} is not installed ({text[:200]}); sdpa and eager always are"
            )
        return DataError(f"attn_implementation: {attention!r} cannot be used ({text[:200]}); sdpa and eager always can")
    if "trust_remote_code" in text:
        return DataError(f"model: {name} brings code of its own; read it, then give --trust-remote-code to let it run")
    if "model type" in text or "model_type" in text:
        return DataError(
            f"model: {name} is of a kind that this transformers does not know ({text[:150]}); supported families:"
            f" {', '.join(adapter.family for adapter in ADAPTERS)}. A new family is one file in autotc/models/"
        )
    return DataError(f"model: {name} cannot be loaded ({text[:200]}); a model folder or hub name is expected")
