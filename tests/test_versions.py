"""What an older transformers leaves out is told in one line, where it is asked for."""

from __future__ import annotations

from importlib import metadata

import pytest

from autotc import tiny
from autotc.errors import UnsupportedModelError
from autotc.models import ADAPTERS, bind
from autotc.versions import check_transformers

from .models.families import FAMILIES


@pytest.mark.parametrize(
    ("installed", "right"), [("5.19.0", False), ("5.22.3", False), ("5.23.0", True), ("6.0", True)]
)
def test_versions_are_compared_by_number(installed: str, right: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: installed)
    if right:
        check_transformers("this", "5.23")
        return
    with pytest.raises(UnsupportedModelError, match=f"this: transformers {installed} is installed; 5.23 or newer"):
        check_transformers("this", "5.23")


def test_omni_is_refused_where_its_modules_stand_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    model, llava = FAMILIES["qwen3_omni"].build(), FAMILIES["llava"].build()
    monkeypatch.setattr(metadata, "version", lambda name: "5.19.0")
    with pytest.raises(UnsupportedModelError, match=r"qwen3_omni: transformers 5.19.0 is installed"):
        bind(model)
    with pytest.raises(UnsupportedModelError, match=r"the embedded model tiny-omni: transformers 5.19.0"):
        tiny.load()
    assert bind(llava).family == "llava"
    assert {adapter.family for adapter in ADAPTERS if adapter.since} == {"qwen2_5_omni", "qwen3_omni"}
