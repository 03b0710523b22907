"""Versions of policies in MLflow's model registry: registered, promoted and rolled back by alias."""

from __future__ import annotations

import re
from pathlib import Path

from autotc.errors import DataError, quote
from autotc.policy import Policy
from autotc.tracking.store import POLICY_FOLDER, MlflowStore

CHAMPION, CHALLENGER = "champion", "challenger"
"""Aliases: the version in use, and the newest one."""


def register(store: MlflowStore, run_id: str, name: str, policy: Path, description: str) -> int:
    """Register a policy file, with what stands beside it, as the newest version of a name; returns its number.

    It is the `CHALLENGER`; the first version of a name is the `CHAMPION` too.

    Args:
        store: of the registry.
        run_id: run whose artefacts hold it.
        name: of the registered model.
        policy: its file; ``x.samples.parquet`` and ``x.uncompressed.samples.parquet`` come along.
        description: shown with the version.

    Raises:
        DataError: the name is none that MLflow takes.
    """
    if not name or re.search(r"[/:@]", name):
        raise DataError(f"register: {quote(name)} given; a name without /, : and @ is right")
    store.keep_policy(run_id, policy)
    version = store.add_version(name, run_id, POLICY_FOLDER, description)
    store.set_alias(name, CHALLENGER, version)
    if version == 1:
        store.set_alias(name, CHAMPION, version)
    return version


def promote(store: MlflowStore, name: str, version: int | None, alias: str) -> int:
    """Give an alias to a version, the challenger where none is named; the version that had it is remembered.

    Returns:
        The version that has it now.
    """
    number = version if version is not None else store.version_of(name, CHALLENGER)
    store.run_of(name, number)  # tells where there is no such version
    former = store.aliases(name).get(alias)
    if former is not None and former != number:
        store.remember(name, _former(alias), str(former))
    store.set_alias(name, alias, number)
    return number


def rollback(store: MlflowStore, name: str, alias: str) -> int:
    """Give an alias back to the version that had it before; a second call takes it back.

    Raises:
        DataError: none had it before.
    """
    former = store.remembered(name, _former(alias))
    if former is None:
        raise DataError(f"rollback: {name}@{alias} was never promoted from another version; autotc registry lists them")
    now = store.aliases(name).get(alias)
    store.set_alias(name, alias, int(former))
    if now is not None:
        store.remember(name, _former(alias), str(now))
    return int(former)


def describe(policy: Policy) -> str:
    """What a version's description says, in a line: stages, cost and accuracy."""
    parts = [policy.label()]
    if policy.measured is not None:
        measured = policy.measured
        parts.append(f"FLOPs ratio {measured.flops_ratio:.3f}")
        for name, (mean, low, high) in measured.accuracy.items():
            parts.append(f"{name} {mean:.3f} [{low:.3f}, {high:.3f}]")
    return "; ".join(parts)


def _former(alias: str) -> str:
    return f"autotc.former.{alias}"
