"""Depths that are listed by fingerprint are those of the configurations."""

from __future__ import annotations

from autotc.models.checkpoints import find_checkpoint
from autotc.models.known import DEPTHS
from autotc.models.published import PUBLISHED


def test_depths_of_known_fingerprints() -> None:
    bound = [find_checkpoint(name).bound for name in (None, *PUBLISHED)]
    assert {one.fingerprint: one.depths for one in bound} == DEPTHS
