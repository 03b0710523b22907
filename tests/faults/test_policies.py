"""Policy and search-space files that are wrong: one line that says what and where, at once, and never another error."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import autotc
from autotc.cli.program import main
from autotc.errors import MESSAGE_LENGTH, DataError, PolicyError
from autotc.policy import Policy, Stage, read_policy
from autotc.search.space import SearchSpace

STAGE = "{modality: image, location: projector, mechanism: random, keep_ratio: 0.5}"
GOOD = (
    f"version: 1\nstages:\n- {STAGE}\n- {{modality: image, location: decoder, mechanism: fastv, layers: {{2: 0.4}}}}\n"
)
MEASURED = """\
measured:
  evaluator: builtin
  split: test
  samples: {image: 60}
  samples_sha256: abc
  accuracy: {image: [0.9, 0.8, 1.0]}
  flops_ratio: 0.5
"""
SPACE = """\
version: 1
step: 0.05
modalities:
  image:
    max_stages: 2
    presets: [divprune]
    choices:
    - {mechanism: tome, location: encoder, layers: [0, 1], keep_ratio: [0.5, 0.9]}
    - {mechanism: fastv, location: decoder, layers: [2, 3, 4], keep_ratio: [0.1, 0.9], schedules: [single, linear]}
  audio:
    choices:
    - {mechanism: random, location: projector, keep_ratio: [0.25, 0.75], params: {seed: 3}}
"""


def refusal(text: str, reader: Any = Policy) -> str:
    """The one line that a text is refused with."""
    with pytest.raises(PolicyError) as caught:
        reader.from_yaml(text, "x.yaml")
    message = str(caught.value)
    assert message.startswith("x.yaml: ")
    assert "\n" not in message
    assert len(message) <= MESSAGE_LENGTH
    assert message.isprintable()
    return message


def full_disk(handle: int) -> None:
    """In place of `os.fsync`."""
    raise OSError(errno.ENOSPC, "No space left on device")


def with_stage(**changes: object) -> str:
    stage = {"modality": "image", "location": "projector", "mechanism": "random", "keep_ratio": 0.5, **changes}
    return yaml.safe_dump({"version": 1, "stages": [stage]})


def test_the_texts_that_are_changed_here_are_right() -> None:
    assert len(Policy.from_yaml(GOOD + MEASURED).stages) == 2
    assert SearchSpace.from_yaml(SPACE).modalities


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\n" + GOOD,
        GOOD + f"stages: [{STAGE}]\n",
        GOOD.replace("keep_ratio: 0.5", "keep_ratio: 0.5, keep_ratio: 0.9"),
        GOOD.replace("{2: 0.4}", "{2: 0.4, 0x2: 0.3}"),
        "version: 1\nstages: []\nnote: a\n'note': b\n",
    ],
    ids=["version", "stages", "keep_ratio", "layer", "quoted"],
)
def test_a_key_that_stands_twice(text: str) -> None:
    assert "twice in one mapping; give each key once" in refusal(text)


def test_a_merged_key_may_be_overridden() -> None:
    text = f"version: 1\nstages:\n- &a {STAGE}\n- {{<<: *a, modality: video, keep_ratio: 0.25}}\n"
    assert Policy.from_yaml(text).stages[1] == Stage(
        modality="video", location="projector", mechanism="random", keep_ratio=0.25
    )


def test_a_key_twice_in_a_space() -> None:
    assert "twice" in refusal(SPACE + "\nversion: 1\n", SearchSpace)


@pytest.mark.parametrize("reader", [Policy, SearchSpace])
def test_no_version(reader: Any) -> None:
    text = (GOOD if reader is Policy else SPACE).replace("version: 1\n", "")
    assert "version: missing; version: 1 is right" in refusal(text, reader)


@pytest.mark.parametrize("version", ["true", "'1'", "2", "null", "1.5", "[1]"])
def test_another_version(version: str) -> None:
    assert "x.yaml: version: " in refusal(GOOD.replace("version: 1", f"version: {version}"))


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"keep_ratio": True}, "stages.0.keep_ratio: "),
        ({"keep_ratio": "0.5"}, "stages.0.keep_ratio: "),
        ({"keep_ratio": float("nan")}, "stages.0.keep_ratio: "),
        ({"keep_ratio": 10**400}, "stages.0.keep_ratio: "),
        ({"location": "decoder", "mechanism": "fastv", "layer": True}, "stages.0.layer: "),
        ({"location": "decoder", "mechanism": "fastv", "layer": 10**30}, "stages.0.layer: "),
        ({"location": "decoder", "mechanism": "fastv", "keep_ratio": None, "layers": {2: True}}, "stages.0.layers.2: "),
        ({"location": "decoder", "mechanism": "fastv", "keep_ratio": None, "layers": {True: 0.5}}, "stages.0.layers."),
        ({"params": {"seed": True}}, "stages.0.params.seed: "),
        ({"params": {"seed": "3"}}, "stages.0.params.seed: "),
        ({"params": {"x" * 100_000: 1}}, "stages.0.params."),
        ({"params": {"seed": list(range(9_000))}}, "stages.0.params.seed: "),
        ({"x" * 100_000: 1}, "stages.0."),
        ({"mechanism": "m" * 200_000}, "stages.0.mechanism: unknown mechanism 'mmm"),
        ({"mechanism": "fastervlm"}, "fastervlm is a preset; autotc presets fastervlm writes it as a policy"),
        ({"mechanism": "divprun3"}, "did you mean 'divprune'?"),
        ({"mechanism": 3}, "stages.0.mechanism: "),
        ({"modality": "smell\x07\x1b[31m"}, "stages.0.modality: "),
    ],
)
def test_values_that_are_not_what_they_stand_for(changes: dict[str, object], place: str) -> None:
    assert place in refusal(with_stage(**changes))


@pytest.mark.parametrize(
    "value",
    [
        "!!bool foo",
        "!!timestamp x",
        "2001-13-01",
        "!!int ''",
        "!!float x",
        "!!binary 'é'",
        "!!python/name:os.system",
        "!!omap x",
        "!!set [a]",
        "!foo bar",
        "1" * 5000,
        "@x",
        "'" + "\\x",
    ],
)
@pytest.mark.parametrize("key", ["note", "version", "stages"])
def test_tags_and_values_that_yaml_refuses(key: str, value: str) -> None:
    text = "".join(line for line in GOOD.splitlines(keepends=True) if not line.startswith(("version", "stages", "-")))
    rest = {"version": "1", "stages": "[]", "note": "x"} | {key: value}
    refusal(text + "".join(f"{name}: {item}\n" for name, item in rest.items()))


@pytest.mark.parametrize("key", ["stages", "note", "model", "measured"])
@pytest.mark.parametrize("depth", [3, 7, 9, 30])
def test_an_alias_bomb(depth: int, key: str) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, depth)]
    refusal("version: 1\n" + "\n".join(lines) + f"\n{key}: *a{depth - 1}\n")


def test_an_alias_within_what_it_names() -> None:
    assert "stands within what it names" in refusal("version: 1\nstages: &a [*a]\n")
    assert "stands within what it names" in refusal("version: 1\nmodel: &a {<<: *a}\n")


@pytest.mark.parametrize("depth", [25, 500, 100_000])
@pytest.mark.parametrize(("begin", "end"), [("[", "]"), ("{a: ", "}")])
def test_nesting(depth: int, begin: str, end: str) -> None:
    message = refusal("version: 1\nstages: " + begin * depth + end * depth)
    assert "nested deeper" in message or (depth > 1000 and "is not YAML" in message)  # libyaml has a limit of its own


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\nstages: [" + "1, " * 3_500_000 + "]\n",
        "version: 1\nstages: [" + "1, " * 300_000 + "]\n",
        "version: 1\nstages: [" + f"{STAGE}, " * 10_000 + "]\n",
        f"version: 1\nstages: [{', '.join([STAGE.replace(', mechanism: random, keep_ratio: 0.5', '')] * 3_000)}]\n",
        "version: 1\nstages: [{modality: image, location: decoder, mechanism: fastv, layers: {"
        + ", ".join(f"{i}: 0.5" for i in range(200_000))
        + "}}]\n",
        "version: 1\nnote: " + "x" * 2_000_000 + "\n",
    ],
    ids=["10 MB", "1 MB", "10,000 stages", "3,000 stages", "layers", "note"],
)
def test_too_much(text: str) -> None:
    message = refusal(text)
    assert "at most" in message or "more than" in message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("flops_ratio: 0.5", "flops_ratio: .nan"),
        ("flops_ratio: 0.5", "flops_ratio: -0.5"),
        ("flops_ratio: 0.5", "flops_ratio: .inf"),
        ("flops_ratio: 0.5", "flops_ratio: true"),
        ("[0.9, 0.8, 1.0]", "[.nan, 0.8, 1.0]"),
        ("[0.9, 0.8, 1.0]", "[0.9, -0.8, 1.0]"),
        ("[0.9, 0.8, 1.0]", "[0.9, 0.8]"),
        ("[0.9, 0.8, 1.0]", "[true, 0.8, 1.0]"),
        ("[0.9, 0.8, 1.0]", "0.9"),
        ("image: 60", "image: -60"),
        ("image: 60", "image: true"),
        ("split: test", "split: test\n  seed: -1"),
        ("split: test", "split: test\n  tolerance: .nan"),
        ("split: test", "split: test\n  tolerance: 2"),
        ("split: test", "split: test\n  kv_ratio: -.inf"),
        ("split: test", "split: test\n  predicted_ms: -3"),
        ("split: test", "split: test\n  trial: -3"),
    ],
)
def test_what_cannot_have_been_measured(old: str, new: str) -> None:
    assert "x.yaml: measured." in refusal(GOOD + MEASURED.replace(old, new))


@pytest.mark.parametrize("path", ["/dev/full", "/dev/zero", "/dev/null"])
def test_devices(path: str) -> None:
    for reader in (Policy, SearchSpace):
        with pytest.raises(PolicyError, match=f"^{path}: is no regular file"):
            reader.load(path)


def test_pipes_directories_and_names_that_no_file_can_have(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (str(tmp_path / "pipe"), str(tmp_path), "x" * 5000, "a\0b", str(tmp_path / "none.yaml")):
        for reader in (Policy, SearchSpace):
            with pytest.raises(PolicyError) as caught:
                reader.load(path)
            assert len(str(caught.value)) <= MESSAGE_LENGTH
            assert str(caught.value).isprintable()


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "x.yaml", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(PolicyError, match="holds 1,099,511,627,776 bytes"):
        Policy.load(tmp_path / "x.yaml")


@pytest.mark.parametrize("value", [{"version": 1}, None, 3, [], b"x.yaml", Stage])
def test_what_is_no_policy(value: object) -> None:
    with pytest.raises(PolicyError, match=r"^policy: .* given; a Policy, or the path of a policy file, is right$"):
        read_policy(value)  # type: ignore[arg-type]


def test_a_policy_that_cannot_be_written_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy.from_yaml(GOOD)
    path = policy.save(tmp_path / "x.yaml")
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(DataError, match="No space left on device"):
        policy.model_copy(update={"note": "longer"}).save(path)
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["autotc-policy.schema.json", "x.yaml"]


def test_what_apply_and_configure_are_given_is_a_policy() -> None:
    for value in ({"version": 1, "stages": []}, None, 3, b"x.yaml"):
        with pytest.raises(PolicyError, match="a Policy, or the path of a policy file, is right"):
            autotc.apply(nn.Linear(1, 1), value)  # type: ignore[arg-type]
        with pytest.raises(PolicyError, match="a Policy, or the path of a policy file, is right"):
            autotc.configure(object(), value)  # type: ignore[arg-type]


@pytest.mark.parametrize("command", ["validate", "show", "eval", "check", "export --to vllm", "bench"])
def test_commands_refuse_a_wrong_policy_in_one_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(GOOD.replace("keep_ratio: 0.5", "keep_ratio: true"))
    name, *options = command.split()
    code = main([name, "x.yaml", *options])
    out, err = capsys.readouterr()
    assert code == 2
    assert out == ""
    assert err.startswith(f"autotc {name}: x.yaml: stages.0.keep_ratio: ")
    assert err.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["x.yaml"]


def test_a_preset_is_written_whole_or_not_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.yaml"
    assert main(["presets", "divprune", "--keep", "0.5", "--out", str(path)]) == 0
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full_disk)
    assert main(["presets", "divprune", "--keep", "0.25", "--out", str(path)]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert main(["presets", "all", "--keep", "0.25", "--out", str(tmp_path / "all")]) == 2
    assert not [*(tmp_path / "all").iterdir()]


# What follows changes good files at random. Every outcome but a policy or one line is a fault.

TOKENS = "{ } [ ] ' \" # , ~ é -1 .nan .inf true null 1e400 0x7f 2001-13-01 --- ... &a *a ? : - ! | >"
LINES = ("version: 1\n", "stages:\n", "<<: *a\n", "|\n", ">\n", "\n  ", "\n- ", "---\n", "...\n")
PAIRS = ("layers: {3: 0.1}", "params: {seed: 1}", "keep_ratio: 0.3", "layer: 4", "&a ", ": ", "!!bool ", "!!timestamp ")
SIGNS = ("\t", "\x00", "\ufeff", "\ud800", "\u2028", "9" * 30, "9" * 5000, "!!python/object:os.system ")
PIECES = st.sampled_from([*TOKENS.split(), *LINES, *PAIRS, *SIGNS])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=4),
    max_leaves=12,
)


def outcome(text: str, reader: Any) -> None:
    """Read a text; anything but a document or one line of refusal fails."""
    try:
        read = reader.from_yaml(text, "x.yaml")
    except PolicyError as error:
        message = str(error)
        assert message.startswith("x.yaml: ")
        assert "\n" not in message
        assert len(message) <= MESSAGE_LENGTH
        assert message.isprintable()
    else:
        assert reader.from_yaml(read.to_yaml()) == read


def spoiled(text: str, edits: list[tuple[int, int, str]]) -> str:
    """A text with pieces of it replaced."""
    for place, length, piece in edits:
        start = place % (len(text) + 1)
        text = text[:start] + piece + text[start + length :]
    return text


EDITS = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 40), PIECES | st.text(max_size=6)), min_size=1, max_size=6
)


def changed(data: Any, seed: int, value: Any) -> Any:
    """A document with one value, or one key, replaced, taken away or added somewhere in it."""
    chance = random.Random(seed)
    if not isinstance(data, dict | list) or not data or chance.random() < 0.2:
        return value
    if isinstance(data, list):
        i = chance.randrange(len(data))
        return [*data[:i], changed(data[i], seed + 1, value), *data[i + 1 :]]
    key = chance.choice(list(data))
    kind = chance.random()
    if kind < 0.15:
        return {k: v for k, v in data.items() if k != key}
    if kind < 0.3:
        name = value if isinstance(value, str | int) else "more"
        return {**data, name: value}
    return {**data, key: changed(data[key], seed + 1, value)}


TEXTS = {Policy: GOOD + MEASURED, SearchSpace: SPACE}


def spoil_text(reader: Any, edits: list[tuple[int, int, str]]) -> None:
    outcome(spoiled(TEXTS[reader], edits), reader)


def spoil_values(reader: Any, seed: int, value: Any) -> None:
    data = changed(yaml.safe_load(TEXTS[reader]), seed, value)
    try:
        text = yaml.safe_dump(data)
    except (yaml.YAMLError, UnicodeError):
        return
    outcome(text, reader)


@pytest.mark.parametrize("reader", [Policy, SearchSpace])
@given(edits=EDITS)
def test_spoiled_text(reader: Any, edits: list[tuple[int, int, str]]) -> None:
    spoil_text(reader, edits)


@pytest.mark.parametrize("reader", [Policy, SearchSpace])
@given(seed=st.integers(0, 10**6), value=VALUES)
def test_spoiled_values(reader: Any, seed: int, value: Any) -> None:
    spoil_values(reader, seed, value)


@pytest.mark.full
@pytest.mark.parametrize("reader", [Policy, SearchSpace])
@settings(max_examples=1000)
@given(edits=EDITS, seed=st.integers(0, 10**6), value=VALUES)
def test_spoiled_a_thousand_times(reader: Any, edits: list[tuple[int, int, str]], seed: int, value: Any) -> None:
    spoil_text(reader, edits)
    spoil_values(reader, seed, value)
