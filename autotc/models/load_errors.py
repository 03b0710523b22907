"""What went wrong when a checkpoint was read, in one line."""

from __future__ import annotations

import pickle
from pathlib import Path

from autotc.errors import DataError, MissingDependencyError, one_line
from autotc.models.checkpoint_files import check_checkpoint_files
from autotc.models.published import PUBLISHED
from autotc.models.registry import ADAPTERS
from autotc.models.settings import Loading
from autotc.names import nearest

_HUB_ERRORS = {
    "GatedRepoError": "is gated: accept its terms on its page on the hub and log in with hf auth login",
    "RevisionNotFoundError": "has no such revision; give --revision a branch, tag or commit of it",
    "RepositoryNotFoundError": "is neither a folder here nor a name on the hub (or private: log in with hf auth login)",
    "LocalEntryNotFoundError": "is not in the cache, and the hub cannot be reached; give a folder, or mend the network",
    "OfflineModeIsEnabled": "is not in the cache, and HF_HUB_OFFLINE forbids to fetch it; give a folder",
}
"""Error of the hub's client -> what to say of a name."""


def hub_error(error: BaseException | None) -> str | None:
    """What an error of the hub's client, somewhere in the chain of causes, says of a name."""
    while error is not None:
        for kind in type(error).__mro__:
            if kind.__name__ in _HUB_ERRORS:
                return _HUB_ERRORS[kind.__name__]
        error = error.__cause__ or error.__context__
    return None


def described(error: BaseException) -> str:
    """An error in a few words, with its class where its text alone does not say what it is."""
    text = one_line(error, 200)
    return f"{type(error).__name__}: {text}" if isinstance(error, LookupError | AttributeError | TypeError) else text


def explained(name: str, error: BaseException, loading: Loading) -> DataError | MissingDependencyError:
    """An error of transformers in one line: what, where, what would be right.

    Args:
        name: of the checkpoint.
        error: that was raised when it was read.
        loading: how it was to be loaded.
    """
    attention, text = loading.attn_implementation, one_line(error)
    broken = _broken_file(name, loading)
    if broken is not None:
        return broken
    if isinstance(error, pickle.UnpicklingError):
        return DataError(
            f"model: {name}: its weights (pytorch_model.bin) are damaged or hold code, which is not run; give a"
            " checkpoint in safetensors, from where you trust it"
        )
    hub = None if Path(name).is_dir() else hub_error(error)
    if hub is not None:
        hint = nearest(name, PUBLISHED, listed=0)
        return DataError(f"model: {name} {hub}" + (f"; {hint}" if hint else ""))
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
    return DataError(f"model: {name} cannot be loaded ({described(error)}); a model folder or hub name is expected")


def _broken_file(name: str, loading: Loading) -> DataError | None:
    """What is wrong with a file of a checkpoint, here or in the hub's cache; None where its files are in order."""
    from huggingface_hub import try_to_load_from_cache

    folder = Path(name)
    if not folder.is_dir():
        try:
            cached = try_to_load_from_cache(name, "config.json", revision=loading.revision)
        except ValueError:  # no name of the hub's
            return None
        if not isinstance(cached, str):
            return None
        folder = Path(cached).parent
    try:
        check_checkpoint_files(folder)
    except DataError as error:
        return error
    return None
