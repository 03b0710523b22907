"""What an older transformers leaves out is told in one line, where it is asked for."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from autotc import tiny, versions
from autotc.errors import MissingDependencyError, UnsupportedModelError
from autotc.models import ADAPTERS, bind
from autotc.models.processors import load_processor
from autotc.models.settings import AS_STORED
from autotc.versions import check_transformers, missing_media

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
    assert {adapter.family for adapter in ADAPTERS if adapter.since} == {
        "gemma4",
        "glm4v",
        "minicpmv",
        "mistral3",
        "qwen2_5_omni",
        "qwen3_5",
        "qwen3_omni",
        "video_llama_3",
        "voxtral",
    }


@pytest.mark.parametrize(("absent", "told"), [("PIL", "pillow"), ("torchvision", "torchvision")])
def test_what_processors_stand_on_is_told_where_it_is_missing(
    absent: str, told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert missing_media() is None
    monkeypatch.setattr(versions, "find_spec", lambda name: None if name == absent else object())
    for load in (tiny.load, lambda: load_processor(str(tmp_path), AS_STORED)):
        with pytest.raises(MissingDependencyError, match=rf"{told} is not installed; pip install 'autotc\[search\]'"):
            load()
