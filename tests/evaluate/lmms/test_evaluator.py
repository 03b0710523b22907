"""Tasks of lmms-eval as an evaluator: the same numbers as the built-in one, splits, scores, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

import autotc
from autotc import cli
from autotc.errors import DataError, MissingDependencyError
from autotc.evaluate.builtin import BuiltinEvaluator, build_samples
from autotc.evaluate.lmms import EMBEDDED, VERSIONS, require_lmms_eval
from autotc.evaluate.lmms.evaluator import LmmsEvaluator
from autotc.evaluate.lmms.loading import load_tasks
from autotc.policy import Policy, Stage
from autotc.search.engine import announce_stops

from .tasks import rows, write

ROOT = Path(__file__).parents[3]
HALF = Policy.of(
    Stage(modality=m, location="projector", mechanism="divprune", keep_ratio=0.4)  # type: ignore[arg-type]
    for m in ("image", "video", "audio")
)
INPUT = Policy.of([Stage(modality="image", location="input", mechanism="downsample", keep_ratio=0.5)])


def metric(name: str, aggregation: str = "mean", higher: bool = True) -> dict[str, Any]:
    return {"metric": name, "aggregation": aggregation, "higher_is_better": higher}


ACC = [metric("acc")]


@pytest.fixture(scope="module")
def evaluator() -> LmmsEvaluator:
    return LmmsEvaluator(["tiny_omni"], limit=12, batch_size=16)


def builtin_id(name: str) -> str:
    task, index = name.split("/")
    return f"test-{task.removeprefix('tiny_omni_').replace('_', '+')}-{int(index):04d}"


@pytest.mark.parametrize("policy", [Policy(), HALF, INPUT], ids=["none", "projector", "input"])
def test_same_numbers_as_the_builtin_evaluator(evaluator: LmmsEvaluator, policy: Policy) -> None:
    """To the sample: what was said, whether it was right, and how likely the right answer was."""

    class Same(BuiltinEvaluator):
        def samples(self, split: Any) -> Any:
            wanted = {builtin_id(sample.id) for sample in evaluator.samples("val")}
            return [sample for sample in build_samples("test", 0) if sample.id in wanted]

    theirs = {s.id: s for s in Same(evaluator.loaded, evaluator.processor, batch_size=16).run(policy, "test").samples}
    mine = evaluator.run(policy, "val").samples
    assert len(mine) == len(theirs) == 48
    for sample in mine:
        other = theirs[builtin_id(sample.id)]
        assert (sample.correct, sample.modality) == (other.correct, other.modality)
        # The built-in one stops at the first word that cannot be right.
        assert sample.answer == other.answer if sample.correct else sample.answer.startswith(other.answer)
        assert sample.log_probability == pytest.approx(other.log_probability, abs=1e-3)


def test_every_sample_is_prepared_once_whatever_races_ask_for(processed: Any) -> None:
    evaluator = LmmsEvaluator(["tiny_omni_image"], limit=40, batch_size=16)
    made = processed(evaluator)
    announce_stops(evaluator, None)
    evaluator.floors("search")
    for stop in (16, 40):
        evaluator.run(Policy(), "search", limit=stop)
    assert sum(made) == len(evaluator.samples("search")) == 40


def test_costs_are_those_of_the_inputs_that_run(evaluator: LmmsEvaluator) -> None:
    cost = evaluator.cost(HALF, "val")
    assert cost.tokens == {"image": 26.0, "audio": 30.0, "video": 38.0}
    assert evaluator.cost(INPUT, "val").flops_ratio_by["image"] < 0.7
    floors = evaluator.floors("val")
    assert cost.flops_ratio_by["image"] > floors["image", "projector"]


def test_documents_of_the_embedded_tasks_are_the_benchmark() -> None:
    for task in load_tasks(["tiny_omni"]):
        theirs = [s for s in build_samples("test", 0) if s.id in {builtin_id(task.id(i)) for i in range(len(task))}]
        assert [(s.prompt, s.answer) for s in theirs] == list(task.texts())
        assert [s.id for s in theirs] == [builtin_id(task.id(i)) for i in range(len(task))]


def test_a_run_after_the_first_pays_for_the_model_alone(evaluator: LmmsEvaluator) -> None:
    evaluator.run(Policy(), "val")
    other = Policy.of([Stage(modality="image", location="projector", mechanism="random", keep_ratio=0.3)])
    evaluator.run(other, "val")
    assert set(evaluator.phases.runs[-1]) == {"model", "scores", "total"}
    assert {"tasks", "requests", "media", "inputs"} <= set(evaluator.phases.seconds)


def test_answers_are_those_of_generate(evaluator: LmmsEvaluator) -> None:
    """A prefill shared with the right answers' log-probabilities, and `generate()` on its own, say the same."""
    quick = evaluator.run(HALF, "test")
    config = evaluator.loaded.generation_config
    slow = LmmsEvaluator(["tiny_omni"], evaluator.loaded, evaluator.processor, limit=12, batch_size=16)
    config.repetition_penalty = 1.0 + 1e-12  # not the usual value: the shared prefill is not used
    try:
        assert slow.run(HALF, "test").samples == quick.samples
    finally:
        config.repetition_penalty = 1.0


def test_splits_are_disjoint_and_do_not_depend_on_the_order_of_tasks(tmp_path: Path) -> None:
    names = ["few", "many"]
    for name, count in zip(names, (12, 40), strict=True):
        write(tmp_path, name, rows(count), process_results="!number", metric_list=ACC)
    one = LmmsEvaluator(load_tasks(names, tmp_path), limit=3)
    two = LmmsEvaluator(load_tasks(names[::-1], tmp_path), limit=3)
    seen: set[str] = set()
    for split in ("search", "val", "test"):
        assert [s.id for s in one.samples(split)] == [s.id for s in two.samples(split)]  # type: ignore[arg-type]
        assert one.info(split) == two.info(split)  # type: ignore[arg-type]
        indices = {f"{task}/{i}" for task, found in one._indices[split].items() for i in found}  # type: ignore[index]
        assert not indices & seen
        seen |= indices
    assert len(seen) == 52
    # A limit takes some of every task, and the hash of what a split holds does not depend on it.
    assert [s.task for s in one.samples("test")] == ["few", "many", "few"]
    assert LmmsEvaluator(load_tasks(names, tmp_path), limit=2).info("test").sha256 == one.info("test").sha256
    other = LmmsEvaluator(load_tasks(names, tmp_path), limit=3, seed=1)
    assert other._indices != one._indices


def test_documents_that_share_a_picture_stay_together(tmp_path: Path) -> None:
    """Also across tasks."""
    write(tmp_path, "one", rows(40, shared=2), process_results="!number", metric_list=ACC)
    write(tmp_path, "two", rows(10), process_results="!number", metric_list=ACC)
    found = LmmsEvaluator(load_tasks(["one", "two"], tmp_path))._indices
    for split in found.values():
        pictures = {i // 2 for i in split["one"]}
        assert set(split["one"]) == {2 * p for p in pictures} | {2 * p + 1 for p in pictures}
        assert {i for i in split.get("two", []) if i < 10} <= pictures
    assert all(found[split] for split in ("search", "val", "test"))


def test_clusters_are_the_tasks_own_and_shared_pictures(tmp_path: Path) -> None:
    videos = [{**row, "videoID": f"v{row['id'] // 2}"} for row in rows(12)]
    write(tmp_path, "keyed", videos, process_results="!number", metric_list=ACC, cluster_key="videoID")
    write(tmp_path, "plain", [*rows(12)[10:], *rows(20)[12:]], process_results="!number", metric_list=ACC)
    made = LmmsEvaluator(load_tasks(["keyed", "plain"], tmp_path))
    found = {s.id: s.cluster for split in ("search", "val", "test") for s in made.samples(split)}  # type: ignore[arg-type]
    assert all(found[f"keyed/{i}"] == f"keyed/v{i // 2}" for i in range(12))
    assert [found[f"plain/{i}"] for i in range(4)] == ["keyed/v5", "keyed/v5", "", ""]
    one = made.run(HALF, "val", limit=1).samples[0]
    assert one.cluster == found[one.id]


@pytest.mark.parametrize(
    ("config", "right", "wrong"),
    [
        ({"process_results": "!number", "metric_list": ACC}, 1.0, 0.0),
        (
            {
                "process_results": "!entry",
                "metric_list": [metric("other")],
            },
            1.0,
            0.0,
        ),
        (
            {
                "process_results": "!percent",
                "metric_list": [metric("share", "!percent_of")],
            },
            1.0,
            0.0,
        ),
        (
            {
                "process_results": "!distance",
                "metric_list": [metric("wer", "!distance_of", higher=False)],
            },
            1.0,
            0.0,
        ),
        ({"metric_list": [{"metric": "exact_match", "ignore_case": True}]}, 1.0, 0.0),
    ],
    ids=["number", "score", "percent", "lower is better", "no process_results"],
)
def test_scores_of_documents(tmp_path: Path, config: dict[str, Any], right: float, wrong: float) -> None:
    write(tmp_path, "task", rows(4), **config)
    (task,) = load_tasks(["task"], tmp_path)
    assert [task.score(2, said) for said in ("2", "3")] == [right, wrong]


def test_scores_of_mme_are_the_entries_of_its_aggregate(tmp_path: Path) -> None:
    """MME adds up pairs of questions; a document's own entry says whether it was right."""
    documents = [dict(row, answer="Yes", category="OCR", question_id="a") for row in rows(4)]
    functions = "lmms_eval.tasks.mme.utils.mme_"
    write(tmp_path, "like_mme", documents, metric_list=[])
    path = tmp_path / "like_mme.yaml"
    path.write_text(
        path.read_text().replace("metric_list: []", "")
        + f"process_results: !function {functions}process_results\nmetric_list:\n"
        + "".join(
            f"  - metric: mme_{kind}_score\n    aggregation: !function {functions}aggregate_results\n"
            "    higher_is_better: true\n"
            for kind in ("cognition", "perception")
        )
    )
    (task,) = load_tasks(["like_mme"], tmp_path)
    assert [task.score(0, said) for said in ("yes", "no", "Yes, it is", "perhaps")] == [1.0, 0.0, 1.0, 0.0]


def test_scores_that_cannot_be_had_are_refused(tmp_path: Path) -> None:
    write(
        tmp_path,
        "long",
        rows(4),
        process_results="!number",
        metric_list=[metric("length"), *ACC],
    )
    write(
        tmp_path,
        "pairs",
        rows(4),
        process_results="!percent",
        metric_list=[metric("share", "!pairs_of")],
    )
    long, pairs = load_tasks(["long", "pairs"], tmp_path)
    with pytest.raises(DataError, match=r"long/1: metric length is 3; .* --metric of length, acc"):
        long.score(1, "abc")
    assert long.score(1, "1", "acc") == 1.0
    with pytest.raises(DataError, match="pairs: metric share gives no number for one document"):
        pairs.score(1, "1")
    with pytest.raises(DataError, match="--metric: long has no 'f1'; it has length, acc"):
        LmmsEvaluator(load_tasks(["long"], tmp_path), metric="f1")


def test_multiple_choice_takes_the_likeliest(tmp_path: Path) -> None:
    """lmms-eval takes the least of what it is given, so losses are what it must be given."""
    choices = ["red", "2", "4 4", "left"]
    documents = [dict(row, answer=i % 4, question=f"count digits {i}") for i, row in enumerate(rows(12))]
    write(
        tmp_path,
        "choose",
        documents,
        output_type="multiple_choice",
        doc_to_choice=choices,
        metric_list=ACC,
    )
    found = LmmsEvaluator(load_tasks(["choose"], tmp_path), batch_size=3)
    model, processor = found.loaded, found.processor
    results = {s.id: s for s in found.run(HALF, "search").samples}
    for sample in found.samples("search"):
        losses = []
        for choice in choices:
            inputs = found.batches.inputs([sample], processor)
            tokens = torch.tensor([processor.tokenizer(choice)["input_ids"]])
            whole = dict(inputs) | {"input_ids": torch.cat([inputs["input_ids"], tokens], 1)}
            whole["attention_mask"] = torch.ones_like(whole["input_ids"])
            with autotc.apply(model, HALF), torch.no_grad():
                logits = model(**whole).logits.log_softmax(-1)
            n = tokens.shape[1]
            losses.append(-float(logits[0, -n - 1 : -1].gather(1, tokens[0][:, None]).mean()))
        best = min(range(4), key=losses.__getitem__)
        result = results[sample.id]
        assert result.answer == choices[best]
        assert result.correct == float(best == int(sample.id.split("/")[1]) % 4)
        right = choices.index(sample.answer)
        tokens_of_right = len(processor.tokenizer(sample.answer)["input_ids"])
        assert result.log_probability == pytest.approx(-losses[right] * tokens_of_right, abs=1e-3)


def test_unknown_tasks_are_told_with_near_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["eval", "none", "--tasks", "tiny_omni_imge"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "'tiny_omni_imge' is not a task of the installed lmms-eval; did you mean 'tiny_omni_image'" in error


def test_a_hub_task_without_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "hub.yaml").write_text(
        "task: hub\ndataset_path: nobody/nothing\ntest_split: test\ndoc_to_text: question\ndoc_to_target: answer\n"
    )
    assert cli.main(["eval", "none", "--tasks", "hub", "--task-folder", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    for part in ("hub cannot be loaded", "nobody/nothing", "cannot be reached", "go online"):
        assert part in error


@pytest.mark.parametrize(
    ("kind", "why"), [("generate_until_multi_round", "several rounds"), ("loglikelihood", "one continuation")]
)
def test_tasks_of_other_kinds_are_refused(tmp_path: Path, kind: str, why: str) -> None:
    write(tmp_path, "other", rows(4), output_type=kind, process_results="!number", metric_list=ACC)
    with pytest.raises(DataError, match=f"other .*{why}"):
        load_tasks(["other"], tmp_path)


def test_too_few_documents(tmp_path: Path) -> None:
    write(tmp_path, "two", rows(2), process_results="!number", metric_list=ACC)
    with pytest.raises(DataError, match="2 documents leave the val split without any"):
        LmmsEvaluator(load_tasks(["two"], tmp_path))


def test_tasks_without_media_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "bare", rows(10), process_results="!number", metric_list=ACC)
    path = tmp_path / "bare.yaml"
    path.write_text("".join(x for x in path.read_text().splitlines(keepends=True) if "doc_to_visual" not in x))
    with pytest.raises(DataError, match="bare shows no media"):
        LmmsEvaluator(load_tasks(["bare"], tmp_path)).samples("test")


def test_versions_of_lmms_eval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_lmms_eval()
    folder = tmp_path / "lmms_eval-0.8.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: lmms-eval\nVersion: 0.8.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingDependencyError, match=r"lmms-eval 0\.8\.0 is installed, >=0\.7\.3,<0\.8 is needed"):
        require_lmms_eval()
    (folder / "METADATA").unlink()
    folder.rmdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(MissingDependencyError, match=r"not installed; pip install 'autotc\[lmms\]'"):
        require_lmms_eval()


def test_the_extra_and_the_code_name_the_same_versions() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert f"lmms-eval{VERSIONS}" in extras["lmms"]


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--tasks", "mme", "--data", "x.jsonl"], ["--tasks", "--data"]),
        (["--evaluator", "lmms"], ["--evaluator", "needs --tasks"]),
        (["--evaluator", "builtin", "--tasks", "mme"], ["--evaluator", "builtin", "--tasks"]),
        (["--task-folder", "x"], ["--task-folder", "without --tasks"]),
        (["--tasks", "mme", "--task-folder", "nowhere"], ["--task-folder", "nowhere", "no such folder"]),
    ],
)
def test_arguments_that_do_not_fit(capsys: pytest.CaptureFixture[str], arguments: list[str], parts: list[str]) -> None:
    assert cli.main(["eval", "none", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    for part in parts:
        assert part in captured.err


def test_tasks_that_a_policy_does_not_touch_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = INPUT.save(tmp_path / "x.yaml") or tmp_path / "x.yaml"
    names = "tiny_omni_audio,tiny_omni_image"
    code = cli.main(["eval", str(path), "--evaluator", "lmms", "--tasks", names, "--limit", "3", "--json"])
    captured = capsys.readouterr()
    assert code == 0
    assert "warning: tiny_omni_audio: the policy has no stage for audio" in captured.err
    assert "warning: tiny_omni_image" not in captured.err
    data = json.loads(captured.out)
    assert data["untouched"] == ["tiny_omni_audio"]
    assert data["samples"] == {"audio": 3, "image": 3}
    assert set(data["phases"]["runs"][0]) <= {"model", "media", "inputs", "scores", "total"}


def test_the_folder_of_the_embedded_tasks_is_printed() -> None:
    done = subprocess.run([sys.executable, "-m", "autotc.evaluate.lmms"], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == EMBEDDED
