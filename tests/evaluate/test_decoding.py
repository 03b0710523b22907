"""What follows a prefill."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import GenerationConfig

from autotc.evaluate.decoding import is_plain


@pytest.mark.parametrize(
    ("settings", "plain"),
    [
        ({}, True),
        ({"do_sample": True, "temperature": 0.6, "top_p": 0.9}, True),  # do_sample=False is asked for
        ({"repetition_penalty": 1.0, "num_beams": 1}, True),
        ({"repetition_penalty": 1.05}, False),
        ({"num_beams": 4}, False),
        ({"no_repeat_ngram_size": 3}, False),
        ({"suppress_tokens": [3]}, False),
    ],
)
def test_what_makes_generate_say_other_than_the_likeliest_token(settings: dict[str, Any], plain: bool) -> None:
    assert is_plain(GenerationConfig(**settings)) == plain
