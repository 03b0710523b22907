"""Forms of a data file: questions, turns, messages, conversations, tables; and what is told of bad ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from autotc.errors import DataError
from autotc.evaluate.records import Record, load_records, record_clusters, split_records

TURNS = [{"user": "What is it?", "assistant": "A clock."}]
TEXT = {"type": "text", "text": "And the time?"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 6), (255, 0, 0)).save(tmp_path / name)
    return tmp_path


def one(folder: Path, row: dict[str, Any]) -> list[Record]:
    path = folder / "data.jsonl"
    path.write_text(json.dumps(row))
    return load_records(path)


def row(**changes: Any) -> dict[str, Any]:
    out = {"id": "a", "images": ["a.png"], "prompt": "And the time?", "answer": "noon", **changes}
    return {key: value for key, value in out.items() if value is not ...}


def conversed(key: str, said: Any, **changes: Any) -> dict[str, Any]:
    return row(**{"prompt": ..., "answer": ..., key: said, **changes})


def shown(record: Record) -> list[tuple[Any, ...]]:
    """Role of each turn, with its texts and media."""
    return [(t["role"], *[p.get("text", f"<{p['type']}>") for p in t["content"]]) for t in record.turns]  # type: ignore[attr-defined]


WHOLE = [
    ("system", "Be brief."),
    ("user", "<image>", "What is it?"),
    ("assistant", "A clock."),
    ("user", "And the time?"),
]


# --- what is read ---


def test_several_questions_to_one_picture(folder: Path) -> None:
    questions = [
        {"prompt": "Which?", "answer": "7"},
        {"prompt": "Where?", "answer": [[0, 0, 9, 9]], "metric": "iou"},
        {"prompt": "How many?", "answers": ["2", "two"], "id": "own"},
    ]
    records = one(folder, row(prompt=..., answer=..., questions=questions, metric="anls"))
    assert [(r.id, r.prompt, r.answers, r.metric) for r in records] == [
        ("a/1", "Which?", ("7",), "anls"),
        ("a/2", "Where?", ("[0, 0, 9, 9]",), "iou"),
        ("own", "How many?", ("2", "two"), "anls"),
    ]
    assert {r.images for r in records} == {(folder / "a.png",)}
    assert set(record_clusters(records).values()) == {"media of a/1"}
    assert [r.place for r in records] == ["line 1: question 1", "line 1: question 2", "line 1: question 3"]


def test_questions_to_one_picture_stay_in_one_split(folder: Path) -> None:
    lines = []
    for i in range(12):
        Image.new("RGB", (8, 6), (i, 0, 0)).save(folder / f"{i}.png")
        questions = [{"prompt": str(j), "answer": "x"} for j in range(3)]
        lines.append(json.dumps({"id": f"r{i}", "images": f"{i}.png", "questions": questions}))
    path = folder / "many.jsonl"
    path.write_text("\n".join(lines))
    splits = split_records(load_records(path), seed=0)
    pictures = [{record.images for record in members} for members in splits.values()]
    assert sum(map(len, pictures)) == len(set().union(*pictures)) == 12


def test_several_answers(folder: Path) -> None:
    assert one(folder, row(answer=[7, "seven"]))[0].answers == ("7", "seven")
    assert one(folder, row(answer=..., answers=["a", "a", "b"]))[0].answers == ("a", "a", "b")
    assert one(folder, row(answer=[1, 2.5, 3, 4]))[0].answers == ("[1, 2.5, 3, 4]",)


def test_turns_and_a_system_prompt(folder: Path) -> None:
    (record,) = one(folder, row(system="Be brief.", turns=TURNS))
    assert shown(record) == WHOLE
    assert (record.prompt, record.answer) == ("And the time?", "noon")
    assert one(folder, row())[0].turns == ()


@pytest.mark.parametrize(
    "messages",
    [
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "What is it?"},
            {"role": "assistant", "content": "A clock."},
            {"role": "user", "content": "And the time?"},
            {"role": "assistant", "content": "noon"},
        ],
        [
            {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "A clock."}]},
            {"role": "user", "content": [TEXT]},
            {"role": "assistant", "content": [{"type": "text", "text": "noon"}]},
        ],
    ],
)
def test_messages(folder: Path, messages: Any) -> None:
    (record,) = one(folder, conversed("messages", messages))
    assert shown(record) == WHOLE
    assert (record.id, record.prompt, record.answer) == ("a", "And the time?", "noon")
    (other,) = one(folder, conversed("messages", messages[:-1], answer=["noon", "12"], id=...))
    assert (shown(other), other.answers, other.id) == (WHOLE, ("noon", "12"), "1")


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "image": "b.png"},
        {"type": "image", "path": "b.png"},
        {"type": "image", "url": "b.png"},
        {"type": "image_url", "image_url": {"url": "b.png"}},
        {"type": "image_url", "image_url": "b.png"},
    ],
)
def test_messages_that_name_their_pictures(folder: Path, part: dict[str, Any]) -> None:
    messages = [{"role": "user", "content": [{"type": "image", "image": "a.png"}, TEXT, part]}]
    (record,) = one(folder, conversed("messages", messages, answer="noon", images=...))
    assert record.images == (folder / "a.png", folder / "b.png")
    assert shown(record) == [("user", "<image>", "And the time?", "<image>")]


def test_conversations_as_llava_has_them(folder: Path) -> None:
    entries = [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": "A clock."},
        {"from": "human", "value": "And the time?"},
        {"from": "gpt", "value": "noon"},
    ]
    row = {"id": "a", "image": "a.png", "system": "Be brief.", "conversations": entries}
    path = folder / "llava.json"
    path.write_text(json.dumps([row, {**row, "id": "b"}], indent=1))
    records = load_records(path)
    assert [shown(record) for record in records] == [WHOLE, WHOLE]
    assert [record.place for record in records] == ["entry 1", "entry 2"]
    between = [{"from": "human", "value": "Is <image> like <image>?"}, {"from": "gpt", "value": "yes"}]
    (record,) = one(folder, conversed("conversations", between, images=["a.png", "b.png"]))
    assert shown(record) == [("user", "Is", "<image>", "like", "<image>", "?")]
    assert record.prompt == "Is\nlike\n?"


# --- tables ---


def rows_of_a_table() -> list[dict[str, Any]]:
    return [
        row(id="a", answer="7"),
        row(id="b", images=["a.png", "b.png"], answer=..., answers=["noon", "12"], metric="anls", cluster="c"),
        row(id="c", system="Be brief.", turns=TURNS, prompt="Über, was?\nWo?", answer='er sagte "7, 8"'),
        row(id="d", prompt=..., answer=..., questions=[{"prompt": "x", "answer": "1"}, {"prompt": "y", "answer": "2"}]),
    ]


def known(records: list[Record]) -> list[tuple[Any, ...]]:
    return [(r.id, r.prompt, r.answers, r.images, r.turns, r.metric, r.cluster) for r in records]


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "json"])
def test_tables_hold_what_lines_hold(folder: Path, ending: str) -> None:
    rows = rows_of_a_table()
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    path = folder / f"data.{ending}"
    if ending == "json":
        path.write_text(json.dumps(rows))
    elif ending == "parquet":
        pd.DataFrame(rows).to_parquet(path)
    else:
        cells = [{k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()} for row in rows]
        cells[0]["images"] = "a.png"
        pd.DataFrame(cells).to_csv(path, index=False, sep="\t" if ending == "tsv" else ",", encoding="utf-8-sig")
    found = load_records(path)
    assert known(found) == known(load_records(folder / "data.jsonl"))
    # A row of a text table is called by its line, in which the cell before holds a line break.
    fourth = {"csv": "line 6", "tsv": "line 6", "parquet": "row 4", "json": "entry 4"}[ending]
    assert [r.place for r in found][-1] == f"{fourth}: question 2"


def test_whole_numbers_of_a_column_with_gaps(folder: Path) -> None:
    frame = pd.DataFrame({"id": [1, 2], "image": ["a.png", "b.png"], "prompt": ["x", "y"], "answer": [7, None]})
    frame["answers"] = [None, ["8"]]
    frame.to_parquet(folder / "data.parquet")
    assert [(r.id, r.answers) for r in load_records(folder / "data.parquet")] == [("1", ("7",)), ("2", ("8",))]


@pytest.mark.parametrize(
    ("cell", "answers"),
    [
        ('["2", "two"]', ("2", "two")),
        ("[unclear]", ("[unclear]",)),
        ("[1, 2]", ("[1, 2]",)),
        ("[0, 0, 5, 5]", ("[0, 0, 5, 5]",)),
        ("[]", ("[]",)),
        ("007", ("007",)),
    ],
)
def test_answers_in_the_cells_of_a_text_table(folder: Path, cell: str, answers: tuple[str, ...]) -> None:
    pd.DataFrame([row(images="a.png", answer=cell)]).to_csv(folder / "data.csv", index=False)
    assert load_records(folder / "data.csv")[0].answers == answers


# --- what is refused ---

USER = {"role": "user", "content": "Which?"}
SAYS = {"role": "assistant", "content": "7"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            row(questions=[]),
            "questions: given beside prompt; one of prompt, questions, messages, conversations is right",
        ),
        (row(prompt=..., questions=[{"prompt": "x", "answer": "y"}]), "answer: given beside questions"),
        (row(prompt=..., answer=..., questions=[]), "questions: [] given; a list of objects is expected"),
        (row(prompt=..., answer=..., questions=["x"]), "question 1: 'x' given; an object is expected"),
        (row(prompt=..., answer=..., questions=[{"prompt": "x"}]), "question 1: answer: missing; a text is expected"),
        (row(prompt=..., answer=..., questions=[{"prompt": "x", "answer": "y", "q": 1}]), "question 1: q: unknown key"),
        (row(prompt=..., answer=..., id=..., questions=[{"prompt": "x", "answer": "y"}]), "id: missing"),
        (row(answers=["a"]), "answers: given beside answer"),
        (row(answer=[]), "answer: [] given; a text or a list of 1 to 100 is expected"),
        (row(answer=["a", None]), "answer: None given; a text that is not empty"),
        (row(answer=[["a"]]), "answer: ['a'] given; a text that is not empty"),
        (row(image="b.png"), "image: given beside images, which says the same"),
        (row(images=[{"bytes": "x", "path": None}]), "images: holds the media themselves; save them as files"),
        (row(metric="close"), "metric: 'close' given; one of exact, contains, anls"),
        (row(metric="os:system"), "metric: 'os:system' given; one of exact"),
        (row(metric="iou"), "answer: 'noon' given; a box [x1, y1, x2, y2]"),
        (row(metric="choice", answer=["A", "two"]), "answer: 'two' given; the letter of a choice"),
        (row(turns={"user": "x"}), "turns: {'user': 'x'} given; a list of objects"),
        (row(turns=[{"user": "x"}]), "turn 1: assistant: missing"),
        (row(turns=[*TURNS, {"user": "x", "assistant": ""}]), "turn 2: assistant: '' given"),
        (row(turns=[{"user": "x", "gpt": "y"}]), "turn 1: gpt: unknown key; known: user, assistant"),
        (row(system=3), "system: 3 given; a text"),
        (row(messages=[USER]), "messages: given beside prompt"),
        (conversed("messages", [USER]), "answer: missing"),
        (conversed("messages", [USER, SAYS], answer="7"), "answer: given beside messages, which end with one"),
        (conversed("messages", [USER, SAYS], turns=TURNS), "turns: given beside messages"),
        (conversed("messages", [USER, SAYS], images=...), "no media; give images, video or audio"),
        (conversed("messages", [SAYS]), "message 1: a turn of the assistant stands first; one of the system or user"),
        (
            conversed("messages", [USER, USER]),
            "message 2: a turn of the user stands after one of the user; one of the assis",
        ),
        (
            conversed("messages", [{"role": "tool", "content": "x"}]),
            "message 1: role: 'tool' given; one of system, dev",
        ),
        (conversed("messages", [{"role": "system", "content": "x"}]), "messages: ends without a question"),
        (conversed("messages", [{"role": "user"}]), "message 1: content: missing"),
        (
            conversed("messages", [{"role": "user", "content": [{"type": "image"}]}]),
            "messages: ends without a question",
        ),
        (
            conversed("messages", [{"role": "user", "content": [{"type": "x"}]}]),
            "message 1: part 1: type: 'x' given; one",
        ),
        (
            conversed("messages", [{"role": "user", "content": [{"type": "image"}, {"type": "image"}, TEXT]}, SAYS]),
            "images: 1 given; the conversation has 2 places for them",
        ),
        (
            conversed("messages", [USER, {"role": "assistant", "content": [{"type": "image"}]}]),
            "message 2: part 1: image: shown by the assistant; media stand in the messages of the user",
        ),
        (
            conversed("messages", [{"role": "user", "content": [{"type": "image", "image": "b.png"}, TEXT]}, SAYS]),
            "messages: name media that stand in images, video or audio too",
        ),
        (
            conversed("messages", [{"role": "user", "content": [{"type": "image", "image": "c.png"}, TEXT]}, SAYS]),
            "message 1: part 1: image: 'c.png' does not exist",
        ),
        (
            conversed("messages", [{"role": "system", "content": "x"}, USER, SAYS], system="y"),
            "system: given beside messages, which begin with one",
        ),
        (conversed("conversations", [{"from": "bot", "value": "x"}]), "conversation 1: from: 'bot' given; one of"),
        (conversed("conversations", [{"from": "human", "value": "<image> <image> x"}]), "answer: missing"),
        (
            conversed("conversations", [{"from": "human", "value": "<image> <image> x"}], answer="7"),
            "images: 1 given; the conversation has 2 places for them",
        ),
    ],
)
def test_what_is_wrong_is_told_in_one_line(folder: Path, changed: dict[str, Any], message: str) -> None:
    path = folder / "data.jsonl"
    path.write_text(json.dumps(row(id="first")) + "\n" + json.dumps(changed))
    with pytest.raises(DataError) as caught:
        load_records(path)
    told = str(caught.value)
    assert told.startswith(f"{path}: line 2: ")
    assert message in told
    assert told.isprintable()
    assert len(told) < 500


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "is empty; at least one line or row"),
        ("a.csv", "id,prompt\n", "is empty"),
        ("a.csv", "id,id\n1,2\n", "line 1: the column 'id' stands twice"),
        ("a.csv", "id;image;prompt\na;a.png;x\n", "line 2: id;image;prompt: unknown key"),
        ("a.csv", "id,image,prompt,answer\n\na,a.png,x,7,8\n", "line 3: has 5 cells; the header names 4 columns"),
        ("a.csv", "id,image,prompt,answer\na,a.png,x\n", "line 2: answer: missing"),
        ("a.csv", 'id,image,prompt,answer\na,a.png,"x\ny",7\nb,a.png,"x,7\n', "line 4: is no row of a table"),
        ("a.csv", "id,image,prompt,answer\na,c.png,x,7\n", "line 2: image: 'c.png' does not exist"),
        ("a.csv", "id,image,prompt,answer,turns\na,a.png,x,7,then\n", "line 2: turns: is not JSON (Expecting value"),
        ("a.csv", 'id,image,prompt,answer\na,"[""a.png""",x,7\n', "line 2: image: is not JSON"),
        ("a.json", "{", "is not JSON (Expecting property name"),
        ("a.json", "{}", "holds dict; a list of objects is expected, or name it .jsonl"),
        ("a.json", "[\n1]", "entry 1: holds int; an object"),
        ("a.json", "[\n]", "is empty"),
        ("a.parquet", "x", "is no Parquet file"),
    ],
)
def test_tables_that_are_wrong(folder: Path, name: str, text: str, message: str) -> None:
    path = folder / name
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        load_records(path)
    told = str(caught.value)
    assert told.startswith(f"{path}: ")
    assert message in told
    assert told.isprintable()
    assert len(told) < 500


def test_rows_of_a_parquet_file_that_are_wrong(folder: Path) -> None:
    frame = pd.DataFrame([row(), row(id="b", images=["c.png"])])
    frame.to_parquet(folder / "data.parquet")
    with pytest.raises(DataError, match=r"data\.parquet: row 2: images: 'c\.png' does not exist"):
        load_records(folder / "data.parquet")
    frame["images"] = [[{"bytes": b"x", "path": None}]] * 2
    frame.to_parquet(folder / "data.parquet")
    with pytest.raises(DataError, match=r"row 1: images: holds the media themselves"):
        load_records(folder / "data.parquet")
