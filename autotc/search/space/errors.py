"""What search spaces raise."""

from __future__ import annotations

from autotc.errors import PolicyError


class SpaceError(PolicyError):
    """A search space is malformed, or a policy lies outside it."""
