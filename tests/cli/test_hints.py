"""A name that is nearly right is told with the one that was meant, wherever names are given."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

import autotc
from autotc import cli
from autotc.errors import AutotcError
from autotc.evaluate.metrics import find_metric
from autotc.export import get_engine
from autotc.models import find_architecture
from autotc.names import near_names, nearest
from autotc.search.home import Home

STAGE = "{modality: image, location: decoder, layer: 1, mechanism: fastv, keep_ratio: 0.5}"
POLICY = f"version: 1\nstages: [{STAGE}]\n"
CHOICE = "{mechanism: fastv, location: decoder, layers: [1, 2], keep_ratio: [0.1, 0.5], schedules: [step]}"
SPACE = f"version: 1\ndeployable_on: vllm\nmodalities: {{image: {{choices: [{CHOICE}], presets: [fastv]}}}}\n"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("frnt", "front"),
        ("search --budgt 0.5", "--budget"),
        ("search --sampler nsga4", "nsga3"),
        ("search --space defalt", "default"),
        ("search --deployable-on vlm", "vllm"),
        ("presets fastvv", "fastv"),
        ("presets FastV --keep 0.5", "fastv"),
        ("presets --family querry", "query"),
        ("presets --location projectr", "projector"),
        ("presets --modality imag", "image"),
        ("presets --needs last_query", "last_query_attention"),
        ("compare --presets divprun", "divprune"),
        ("compare --by location --mechanism divprun", "divprune"),
        ("conflicts --pairs divprun@projector+fastv@decoder", "divprune"),
        ("conflicts --pairs divprune@projectr+fastv@decoder", "projector"),
        ("bench --calibrate --mechanisms fastvv", "fastv"),
        ("eval none --split tests", "test"),
        ("eval none --attn-implementation spda", "sdpa"),
    ],
)
def test_on_the_command_line(words: str, meant: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    runs = [] if words.startswith(("presets", "frnt", "bench", "eval")) else ["--runs", str(tmp_path)]
    assert cli.main([*words.split(), *runs]) == 2
    assert f"did you mean {meant!r}?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "wrong", "place", "meant"),
    [
        (POLICY, ("image", "imag"), "stages.0.modality", "image"),
        (POLICY, ("decoder", "decodr"), "stages.0.location", "decoder"),
        (POLICY, ("fastv", "fastvv"), "stages.0.mechanism", "fastv"),
        (POLICY, ("mechanism", "mechnism"), "stages.0.mechnism", "mechanism"),
        (POLICY, ("keep_ratio", "keep"), "stages.0.keep", "keep_ratio"),
        (POLICY, ("0.5}", "0.5, params: {recyle: true}}"), "stages.0.params.recyle", "recycle"),
        (POLICY, ("stages", "stage"), "stage", "stages"),
        (SPACE, ("modalities", "modalties"), "modalties", "modalities"),
        (SPACE, ("image:", "imag:"), "modalities.imag", "image"),
        (SPACE, ("decoder", "decodr"), "modalities.image.choices.0.location", "decoder"),
        (SPACE, ("layers", "layer"), "modalities.image.choices.0.layer", "layers"),
        (SPACE, ("step", "stepp"), "modalities.image.choices.0.schedules.0", "step"),
        (SPACE, ("mechanism: fastv", "mechanism: fastvv"), "modalities.image.choices.0.mechanism", "fastv"),
        (SPACE, ("presets: [fastv", "presets: [fastvv"), "modalities.image.presets.0", "fastv"),
        (SPACE, ("deployable_on: vllm", "deployable_on: vlm"), "deployable_on", "vllm"),
        (SPACE, ("deployable_on", "deployable"), "deployable", "deployable_on"),
    ],
)
def test_in_files(text: str, wrong: tuple[str, str], place: str, meant: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text.replace(*wrong))
    (check,) = autotc.validate(path)
    assert check.message is not None
    assert check.message.startswith(f"{path}: {place}: ")
    assert f"did you mean {meant!r}?" in check.message


def test_keys_of_a_data_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"images": ["a.png"], "promt": "x", "answer": "y"}\n')
    (check,) = autotc.validate(path)
    assert "did you mean 'prompt'?" in str(check.message)


def test_studies(tmp_path: Path) -> None:
    optuna.create_study(study_name="tiny-omni-b0.5-s0", storage=Home.of(tmp_path).url)
    for look in (autotc.front, autotc.report):
        with pytest.raises(AutotcError, match=r"did you mean 'tiny-omni-b0\.5-s0'\?"):
            look("tiny-omni-b0.5", runs=tmp_path)


@pytest.mark.parametrize(
    ("ask", "meant"),
    [
        (lambda: get_engine("vlm"), "vllm"),
        (lambda: find_metric("contain"), "contains"),
        (lambda: find_architecture("Qwen2_5_VLForGeneration"), "Qwen2_5_VLForConditionalGeneration"),
        (lambda: autotc.presets(family="querry"), "query"),
        (lambda: autotc.search(None, trails=3), "trials"),
    ],
)
def test_from_python(ask, meant: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(AutotcError, match=f"did you mean '{meant}'"):
        ask()


def test_names_are_near_whatever_their_case() -> None:
    assert near_names("VISIONZIP", ["visionzip", "tome"], 3) == ["visionzip"]
    assert nearest("qqq", ["visionzip", "tome"]) == "known: visionzip, tome"
    assert nearest("qqq", ["visionzip"], listed=0) == ""
