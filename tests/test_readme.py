"""What the READMEs show is carried out or checked, what they link to exists, and their tables are up to date."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import autotc
from autotc.cli.parser import COMMANDS, ShellParser, UsageError
from autotc.evaluate.metrics import KNOWN, METRICS
from autotc.evaluate.records import load_records
from autotc.policy import Policy
from autotc.presets.listing import presets

from .benchmarks import tables

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (
        *ROOT.glob("*.md"),
        *ROOT.glob(".github/*.md"),
        *ROOT.glob("autotc/**/*.md"),
        *ROOT.glob("tests/**/*.md"),
    )
    if "results" not in path.parts
)
COMMAND = r"(?:autotc [a-z].*)"


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def fenced(page: str, language: str) -> list[str]:
    """Blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", read(page), re.DOTALL | re.MULTILINE)


def commands(page: str) -> list[str]:
    """Commands of autotc that a page shows: in indented lines, and between backticks."""
    text = re.sub(r"^```.*?^```", "", read(page), flags=re.DOTALL | re.MULTILINE).replace("\\\n", " ")
    indented = re.findall(rf"^    (?:.*&& )?(?:\$ )?({COMMAND})$", text, re.MULTILINE)
    inline = [" ".join(found.split()) for found in re.findall(r"`(autotc\s[a-z][^`]*)`", text)]
    return [command for command in indented + inline if "|" not in command]


def test_the_front_page_can_be_read_in_five_minutes() -> None:
    assert len(read("README.md").splitlines()) <= 250


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert anchor in anchors, target


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_understood(page: str) -> None:
    for command in commands(page):
        words = shlex.split(command.split(" > ")[0], comments=True)[1:]
        assert words[0] in COMMANDS, command
        if len(words) == 1 or "..." in command:
            continue
        try:
            ShellParser().parse(words)
        except UsageError as error:
            pytest.fail(f"{page}: {command}: {error}")


def test_every_command_is_listed() -> None:
    listed = re.findall(r"^\| (`.*?) \|", read("README.md"), re.MULTILINE)
    assert {name for cell in listed for name in re.findall(r"`(\w+)`", cell)} == set(COMMANDS)


@pytest.mark.parametrize("page", PAGES)
def test_policies_are_valid(page: str) -> None:
    for text in fenced(page, "yaml"):
        assert Policy.from_yaml(text).stages


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("kind", ["json", "csv"])
def test_data_files_are_read(page: str, kind: str, tmp_path: Path) -> None:
    """With files of the names that they give their media."""
    for name in ("a.png", "b.png", "a.wav"):
        (tmp_path / name).touch()
    (tmp_path / "clips" / "a").mkdir(parents=True)
    for text in fenced(page, kind):
        path = tmp_path / {"json": "ours.jsonl", "csv": "ours.csv"}[kind]
        path.write_text(text)
        assert len(load_records(path)) >= len(text.splitlines()) - (kind == "csv")


def test_every_metric_is_listed() -> None:
    table = read("autotc/evaluate/README.md").split("### Metrics")[1].split("###")[0]
    listed = {
        name for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(.+?)`", cell)
    }
    assert listed == {*METRICS, "module:function"}
    assert all(name in KNOWN for name in listed)


@pytest.mark.parametrize("page", [page for page in PAGES if page != ".github/CONTRIBUTING.md"])
def test_python_runs(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the embedded model, whatever the model's name, and with the policy that ships."""
    blocks = fenced(page, "python")
    if not blocks:
        return
    from PIL import Image

    from autotc.tiny import load

    model, processor = load()
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(autotc, "load", lambda *_args, **_options: (model, processor))
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "digit red"}]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True)
    image = Image.new("RGB", (128, 128))
    inputs = processor(text=[text], images=[[image]], return_tensors="pt")
    names: dict[str, Any] = {"model": model, "processor": processor, "text": text, "image": image, "inputs": inputs}
    for block in blocks:
        code = re.sub(r"policies/[\w.-]+\.yaml", "policies/tiny-omni-0.4.yaml", block)
        exec(compile(code, page, "exec"), dict(names))


def test_measured_tables_are_what_the_result_files_say() -> None:
    page = tables.README.read_text(encoding="utf-8")
    assert tables.renewed(page) == page, "run `python tests/benchmarks/tables.py`"


def test_table_of_presets_is_what_the_registry_says() -> None:
    page = read("autotc/presets/README.md")
    shown = page.split("<!-- presets: autotc presets --markdown -->\n")[1].split("<!-- end of presets -->")[0].strip()
    assert shown == presets().to_markdown(), (
        "run `autotc presets --markdown` and put its table into autotc/presets/README.md"
    )


def test_its_commands_are_what_the_checks_run() -> None:
    installs = re.findall(r"^    (python -m pip install .*)$", read("README.md"), re.MULTILINE)
    assert [re.findall(r"-c constraints\.txt -e '\.\[(\w+)\]' && (.*)", line)[0] for line in installs] == [
        ("search", "autotc search"),
        ("test", "python -m pytest"),
    ]
    assert f"\n{installs[1]} || exit\n" in read(".ci/run")


def test_release_notes_begin_with_this_version() -> None:
    assert re.findall(r"^## ([\d.]+)", read(".github/RELEASE_NOTES.md"), re.MULTILINE)[0] == autotc.__version__
