"""The user's own data file: questions about media, with their right answers.

    {"id": "a1", "images": ["a.png"], "prompt": "Which digit is red?", "answer": "7"}

Paths are relative to the file's folder. Media stand before the first text of the user, images first, then
video, then audio.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotc.errors import DataError, quote
from autotc.evaluate.conversations import Media, Turn, asked, before_question, from_conversations, from_messages, placed
from autotc.evaluate.fields import KINDS, Kind, Row
from autotc.evaluate.identity import same_files
from autotc.evaluate.media import shown_name
from autotc.evaluate.media.headers import check_audio, check_picture, check_video
from autotc.evaluate.metrics import METRICS, Metric, check_answers
from autotc.evaluate.splits import SHARES, Member, clusters, divide
from autotc.evaluate.tables import read_rows
from autotc.vocabulary import Group, Split

KEYS: tuple[str, ...] = (
    *("id", "images", "image", "video", "videos", "audio", "audios", "system", "turns", "prompt", "answer", "answers"),
    *("questions", "messages", "conversations", "metric", "cluster", "group"),
)
_FORMS = ("prompt", "questions", "messages", "conversations")
"""Fields that hold the question, of which a row has one."""
PROCESSOR_KEYS: dict[Kind, str] = {"images": "images", "video": "videos", "audio": "audio"}
"""Field of a row -> what processors call its items."""


@dataclass(frozen=True)
class Record:
    """One question of a data file.

    Attributes:
        id: unique in the file; pairs the results of two policies.
        prompt: the question, without template tokens.
        answer: the right answer; the first of several.
        images, video, audio: paths of its media, in order.
        line: where its row stands in the file, from 1.
        cluster: name of what it has in common with others (a document, a scene), where the file names it.
        others: answers that are as right.
        turns: its conversation, where that is more than its media and the question.
        metric: of its own, by name; empty where the evaluator's holds.
        place: where it stands in the file, for errors.
    """

    id: str
    prompt: str
    answer: str
    images: tuple[Path, ...] = ()
    video: tuple[Path, ...] = ()
    audio: tuple[Path, ...] = ()
    line: int = 0
    cluster: str = ""
    others: tuple[str, ...] = ()
    turns: tuple[Turn, ...] = ()
    metric: str = ""
    place: str = ""

    @property
    def modality(self) -> str:
        """Group it is reported in: its modalities joined by ``+``, e.g. ``image+audio``."""
        return Group.of(name for kind, name in KINDS.items() if getattr(self, kind))

    @property
    def media(self) -> tuple[Path, ...]:
        """All its media files."""
        return self.images + self.video + self.audio

    @property
    def answers(self) -> tuple[str, ...]:
        """All right answers."""
        return (self.answer, *self.others)


def load_records(path: str | Path, metric: Metric | None = None) -> list[Record]:
    """Read a data file and check every row of it, media files included (that they exist, not what they hold).

    Args:
        path: ``.jsonl``, ``.json``, ``.csv``, ``.tsv`` or ``.parquet``.
        metric: that the answers must suit; None looks at those of rows that name one.

    Raises:
        DataError: the first thing that is wrong: file, line, key, value and what would be right.
    """
    path = Path(path)
    records: list[Record] = []
    seen: dict[str, str] = {}
    for row in read_rows(path):
        for record in _records(row):
            where = f"{shown_name(path)}: {record.place}"
            if record.id in seen:
                raise DataError(f"{where}: id: {quote(record.id)} is on {seen[record.id]} too; ids are unique")
            seen[record.id] = record.place
            try:
                check_answers(METRICS.get(record.metric, metric), record.answers)
            except DataError as error:
                raise DataError(f"{where}: {error}") from error
            records.append(record)
    return records


def _records(row: Row) -> Iterator[Record]:
    """Questions of a row."""
    row.only(KEYS)
    media = row.paths()
    given = [form for form in _FORMS if row.has(form)]
    if len(given) > 1:
        raise row.error(f"{given[1]}: given beside {given[0]}; one of {', '.join(_FORMS)} is right")
    form = given[0] if given else "prompt"
    if form in ("messages", "conversations"):
        yield _conversation(row, form, media)
        return
    if not any(media.values()):
        raise row.error("no media; give images, video or audio")
    before = before_question(row)
    if form == "prompt":
        identity = row.text("id")
        yield _record(row, row, identity, before, media)
        return
    _refuse(row, ("answer", "answers"), "questions, each of which has its own")
    for number, question in enumerate(row.rows("questions", "question"), start=1):
        question.only(("id", "prompt", "answer", "answers", "metric"))
        identity = question.text("id") if question.has("id") else f"{row.text('id')}/{number}"
        yield _record(row, question, identity, before, media)


def _record(row: Row, question: Row, identity: str, before: Sequence[Turn], media: Media) -> Record:
    """A question of a row, which may be the row itself."""
    answer, *others = question.answers()
    prompt = question.text("prompt", number=False)
    return Record(
        id=identity,
        prompt=prompt,
        answer=answer,
        images=tuple(media["images"]),
        video=tuple(media["video"]),
        audio=tuple(media["audio"]),
        line=row.number,
        cluster=_cluster(row),
        others=tuple(others),
        turns=asked(before, prompt, media) if before else (),
        metric=_metric(question) or _metric(row),
        place=question.place,
    )


def _conversation(row: Row, form: str, media: Media) -> Record:
    """The last question of a conversation that is written as one."""
    _refuse(row, ("turns",), form)
    told = from_messages(row) if form == "messages" else from_conversations(row)
    if any(told.named.values()):
        if any(media.values()):
            raise row.error(f"{form}: name media that stand in images, video or audio too; one of the two is right")
        media = {kind: told.named.get(kind, ()) for kind in KINDS}
    if not any(media.values()):
        raise row.error("no media; give images, video or audio")
    if told.answer is not None:
        _refuse(row, ("answer", "answers"), f"{form}, which end with one")
        if not told.answer.strip():
            raise row.error(f"{form}: end with an answer that is empty; a text is expected")
    answer, *others = row.answers() if told.answer is None else (told.answer,)
    return Record(
        id=row.text("id") if row.has("id") else str(row.number),
        prompt=told.question,
        answer=answer,
        images=tuple(media["images"]),
        video=tuple(media["video"]),
        audio=tuple(media["audio"]),
        line=row.number,
        cluster=_cluster(row),
        others=tuple(others),
        turns=placed(row, told.turns, media),
        metric=_metric(row),
        place=row.place,
    )


def _refuse(row: Row, keys: Sequence[str], beside: str) -> None:
    for key in keys:
        if row.has(key):
            raise row.error(f"{key}: given beside {beside}; one of the two is right")


def _metric(row: Row) -> str:
    """The metric that a row names: one that autotc has, since code is not run because a data file says so."""
    if not row.has("metric"):
        return ""
    name = row.text("metric", number=False)
    if name not in METRICS:
        raise row.error(f"metric: {quote(name)} given; one of {', '.join(METRICS)} is expected")
    return name


def _cluster(row: Row) -> str:
    given = [key for key in ("cluster", "group") if row.has(key)]
    if len(given) > 1:
        raise row.error("cluster: given beside group, which says the same; one of the two is right")
    return row.text(given[0]) if given else ""


def check_headers(path: str | Path, records: Sequence[Record]) -> None:
    """See that the media of a data file are media, from the beginnings of their files; each file is looked at once.

    Args:
        path: of the data file.
        records: its questions.

    Raises:
        DataError: naming the data file, the line and the medium.
    """
    checks: dict[Kind, Callable[[Path], None]] = {
        "images": check_picture,
        "video": check_video,
        "audio": check_audio,
    }
    seen: set[Path] = set()
    for record in records:
        for kind, check in checks.items():
            for file in getattr(record, kind):
                if file in seen:
                    continue
                seen.add(file)
                try:
                    check(file)
                except DataError as error:
                    raise DataError(f"{shown_name(path)}: {record.place}: {kind}: {error}") from error


def split_records(records: Sequence[Record], seed: int) -> dict[Split, list[Record]]:
    """Disjoint splits: 40% search, 20% val, 40% test of every modality group, in the file's order.

    Records that share a media file, or copies of one, or a cluster stay together, so that no picture is searched on and
    tested on. The assignment depends on ids and seed, not on the order of the lines.

    Raises:
        DataError: a group is too small to be in every split.
    """
    where = divide(_members(records), seed)
    out: dict[Split, list[Record]] = {name: [r for r in records if where[r.id] == name] for name in SHARES}
    for group in dict.fromkeys(record.modality for record in records):
        for name, members in out.items():
            if not any(record.modality == group for record in members):
                count = sum(record.modality == group for record in records)
                raise DataError(
                    f"data: {count} {group} samples leave the {name} split without any; "
                    "give at least 3 samples of each modality that share no media, copies of them, or cluster"
                    " (hundreds for narrow intervals)"
                )
    return out


def record_clusters(records: Sequence[Record]) -> dict[str, str]:
    """Cluster of each record's id: the same for records that share a media file, or that the file says belong together.

    Empty for a record of its own.
    """
    return clusters(_members(records))


def _members(records: Sequence[Record]) -> list[Member]:
    keys = same_files(path for record in records for path in record.media)
    return [Member(r.id, r.modality, [keys[path] for path in r.media], r.cluster) for r in records]
