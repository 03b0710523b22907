"""What autotc raises when it was asked for something it cannot do."""

from __future__ import annotations


class AutotcError(Exception):
    """A user's mistake or an unmet requirement, told in one line: what, where, what would be right."""


class PolicyError(AutotcError):
    """A policy is malformed, or does not fit the model it is applied to."""


class ConflictError(PolicyError):
    """Stages of a policy conflict by rule.

    Args:
        rule: name of the rule that refuses the policy.
        reason: what conflicts and what would be right.
    """

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(f"{rule}: {reason}")
        self.rule = rule


class UnsupportedModelError(AutotcError):
    """No adapter knows the model, or the adapter does not offer what was asked for."""


class InputsError(AutotcError):
    """A request's inputs do not fit the policy (not prepared, spans that do not match, ...)."""


class DataError(AutotcError):
    """A data file, a sample or a results file is missing or malformed."""


class MechanismError(AutotcError):
    """A mechanism raised or returned something that breaks its contract."""


class MissingDependencyError(AutotcError):
    """An optional dependency is not installed; the message says which extra brings it."""
