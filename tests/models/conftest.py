"""Families that differ from another one in their experts, or in how positions are counted, are left to the full run."""

from __future__ import annotations

from pathlib import Path

import pytest

VARIANTS = frozenset({"qwen3_vl_moe", "qwen3_5_moe", "glm4v_moe", "minicpmv4_7"})
"""Named by the parameters of a test, alone or as the first of a case."""
HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE not in item.path.parents or not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
            continue
        values = item.callspec.params.values()
        heads = [value[0] if isinstance(value, tuple) and value else value for value in values]
        if any(isinstance(head, str) and head in VARIANTS for head in heads):
            item.add_marker(pytest.mark.full)
