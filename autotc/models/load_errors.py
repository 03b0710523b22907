"""What went wrong when a checkpoint was read, in one line."""

from __future__ import annotations

from pathlib import Path

from autotc.errors import DataError, MissingDependencyError, one_line
from autotc.models.registry import ADAPTERS

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


def explained(name: str, error: BaseException, attention: str | None = None) -> DataError | MissingDependencyError:
    """An error of transformers in one line: what, where, what would be right."""
    text = one_line(error)
    hub = None if Path(name).is_dir() else hub_error(error)
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
