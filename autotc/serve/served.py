"""A policy as an engine is told to serve it, read once and handed on by value to all of the engine's processes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from autotc.errors import PolicyError, quote
from autotc.policy import Policy

ATTRIBUTE = "autotc"
"""Key of ``additional_config``, and of the model's configuration: what is served, as plain data that goes along."""
KEYS = ("policy", "hash")
_MARK = "-autotc-"


@dataclass(frozen=True)
class ServedPolicy:
    """What an engine serves.

    Attributes:
        path: of the file that it was read from.
        text: of the policy, as YAML.
    """

    path: str
    text: str

    @property
    def policy(self) -> Policy:
        """The policy itself."""
        return Policy.from_yaml(self.text, self.path)

    @property
    def hash(self) -> str:
        """Content hash of its stages (`Policy.content_hash`), which servers report."""
        return self.policy.content_hash()


def read_served(settings: object) -> ServedPolicy:
    """The policy that an engine's settings name.

    Args:
        settings: ``{"policy": PATH}``, with ``"hash"`` beside it where no other content is to be served.

    Raises:
        PolicyError: settings or file are wrong, or the file holds another policy than ``hash`` says.
    """
    where = "additional_config.autotc"
    if not isinstance(settings, Mapping) or not isinstance(settings.get("policy"), str | os.PathLike):
        raise PolicyError(f'{where}: {quote(settings)} given; {{"policy": "PATH.yaml"}} is right')
    unknown = sorted(set(settings) - set(KEYS))
    if unknown:
        raise PolicyError(f"{where}.{unknown[0]}: unknown; {' and '.join(KEYS)} are known")
    path = os.fspath(settings["policy"])
    policy = Policy.load(path)
    if not policy.stages:
        raise PolicyError(f"{path}: stages: none; a policy with stages is needed, or an engine without a policy")
    served = ServedPolicy(path, policy.to_yaml())
    expected = settings.get("hash")
    if expected is not None and expected != served.hash:
        raise PolicyError(
            f"{where}.hash: {quote(expected)} given, {path} now holds {served.hash}; it has changed since, so check it"
            " again and give its new hash"
        )
    return served


def marked_fingerprint(fingerprint: str | None, policy_hash: str) -> str:
    """What a server says of itself in every response, with the policy that it serves: ``system_fingerprint``."""
    return f"{fingerprint or ''}{_MARK}{policy_hash}".removeprefix("-")


def fingerprint_hash(fingerprint: str | None) -> str | None:
    """Hash of the policy that a response's ``system_fingerprint`` names; None where it names none."""
    _, mark, policy_hash = f"-{fingerprint or ''}".rpartition(_MARK)
    return policy_hash if mark else None


def served_instead(fingerprint: str | None, policy_hash: str | None) -> str | None:
    """What a server that says this of itself serves in words, where it is not the policy of a hash; None where it is.

    Args:
        fingerprint: ``system_fingerprint`` of a response.
        policy_hash: of the policy that is wanted; None for the uncompressed model.
    """
    served = fingerprint_hash(fingerprint)
    if served == policy_hash:
        return None
    return "no policy of autotc" if served is None else f"policy {served}"
