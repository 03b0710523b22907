"""The model registry from Python: register a policy, promote a version, roll back, list."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from autotc.errors import DataError, quote
from autotc.policy import Policy
from autotc.records.registry import RegisteredVersion, RegistryListing
from autotc.tracking import resolve, version
from autotc.tracking.policies import told
from autotc.tracking.registry import CHAMPION, describe, promote, register, rollback
from autotc.tracking.store import MlflowStore

Action = Literal["list", "register", "promote", "rollback"]


def registry(
    action: Action = "list",
    name: str | None = None,
    *,
    policy: str | Path | None = None,
    version: int | None = None,
    alias: str = CHAMPION,
    runs: str | Path = "runs",
    tracking_uri: str | None = None,
) -> RegistryListing:
    """Look at, or change, what MLflow's model registry holds of policies.

    What is registered is taken by ``models:/NAME@ALIAS`` wherever a policy file is: `apply`, `check`, `export`, ...

    Args:
        action: ``list``; ``register`` a policy file as the newest version of a name, which gets the alias
            ``challenger``, the first also ``champion``; ``promote`` a version to an alias; ``rollback`` an alias to the
            version that had it before.
        name: of the registered model; needed but to list.
        policy: file to register.
        version: to promote; None takes the challenger.
        alias: to promote to, or to roll back.
        runs: folder of the local store, where no server is named.
        tracking_uri: server; None takes the environment's ``MLFLOW_TRACKING_URI``.

    Raises:
        DataError: something is missing or does not go together.
        PolicyError: the policy is wrong; or MLflow has no such name, version or alias, or does not answer.
        MissingDependencyError: mlflow is not installed.

    Example:
        >>> autotc.registry("promote", "qwen", version=3).done  # doctest: +SKIP
        'qwen@champion is version 3'
    """
    if action not in get_args(Action):
        raise DataError(f"action: {quote(action)} given; {', '.join(get_args(Action))} are known")
    if action != "list" and name is None:
        raise DataError(f"{action}: NAME missing; the name of a registered policy is right")
    if (action == "register") != (policy is not None):
        raise DataError("register: POLICY missing" if policy is None else f"{action}: takes no policy file")
    document = None if policy is None else Policy.load(policy)
    address = resolve(tracking_uri, runs)
    with told(address, action if name is None else f"{action} {name}"):
        store = MlflowStore(address)
        done = "" if name is None else _change(store, action, name, policy, document, version, alias)
        rows = [RegisteredVersion(*row[:2], tuple(row[2]), row[3]) for row in store.versions()]
    return RegistryListing(tuple(row for row in rows if name is None or row.name == name), done)


def _change(
    store: MlflowStore,
    action: Action,
    name: str,
    policy: str | Path | None,
    document: Policy | None,
    number: int | None,
    alias: str,
) -> str:
    """Do what is asked for; says what was done."""
    if action == "register" and policy is not None and document is not None:
        run = store.new_run(f"register {name}", {"autotc.version": version()})
        made = register(store, run, name, Path(policy), describe(document))
        return f"{name} has version {made}"
    if action == "promote":
        return f"{name}@{alias} is version {promote(store, name, number, alias)}"
    if action == "rollback":
        return f"{name}@{alias} is version {rollback(store, name, alias)} again"
    return ""
