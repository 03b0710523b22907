"""The embedded model `tiny-omni`, its data and its training recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotc.versions import OMNI_SINCE, check_transformers, missing_media

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the shipped checkpoint, in the layout that ``from_pretrained`` reads."""


def load() -> tuple[Any, Any]:
    """The embedded model, in eval mode, and its processor.

    Raises:
        UnsupportedModelError: the installed transformers is too old for it.
        MissingDependencyError: what its processor stands on is not installed.
    """
    check_transformers("the embedded model tiny-omni", OMNI_SINCE)
    lacking = missing_media()
    if lacking is not None:
        raise lacking
    from transformers import Qwen2_5OmniProcessor, Qwen2_5OmniThinkerForConditionalGeneration

    model = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(WEIGHTS)
    return model.eval(), Qwen2_5OmniProcessor.from_pretrained(WEIGHTS)
