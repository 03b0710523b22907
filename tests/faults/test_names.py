"""A name is a name: it never leaves the folder that it is kept in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autotc.errors import DataError, PolicyError
from autotc.names import NAME_LENGTH, check_name, to_name


@pytest.mark.parametrize("name", ["a", "tiny-omni-b0.5-s0~2", "first-20", "Qwen2.5-VL-7B", "übung", "数据"])
def test_names_stay_as_they_are(name: str) -> None:
    assert check_name(name, "study") == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("tiny-omni", "tiny-omni"),
        ("Qwen2.5-VL-7B", "Qwen2.5-VL-7B"),
        ("my model (v2)", "my-model-v2"),
        ("../../x", "x"),
        ("a--b", "a--b"),
        ("数据", "model"),
        ("", "model"),
    ],
)
def test_a_text_becomes_a_name(text: str, name: str) -> None:
    assert to_name(text) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../../x",
        "/etc/x",
        "a/b",
        "a\\b",
        "a b",
        "a\x00",
        "a\nb",
        "-rf",
        ".hidden",
        "x" * 121,
        "~root",
        "\ud800",
    ],
)
def test_what_is_no_name_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(PolicyError) as caught:
        check_name(name, "--name", error=PolicyError)
    message = str(caught.value)
    assert message.startswith("--name: ")
    assert message.isprintable()
    assert len(message) < 200


@given(st.text(max_size=400))
def test_any_text_makes_a_name(text: str) -> None:
    name = to_name(text)
    assert check_name(name, "study") == name
    assert len(name.encode()) <= NAME_LENGTH
    assert (Path("/runs") / name).resolve().parent == Path("/runs").resolve()


@given(st.text(max_size=200))
def test_a_name_that_passes_is_one_folder(text: str) -> None:
    try:
        name = check_name(text, "study")
    except DataError:
        return
    assert (Path("/runs") / name).resolve().parent == Path("/runs").resolve()
