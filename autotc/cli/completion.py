"""Completion of command lines in bash, zsh and fish, made from the parser by shtab.

Commands, options and their choices come from the parser. Where an option takes a file, a folder, or a name that
autotc or the folder ``runs`` knows (presets, mechanisms, studies, search spaces, models), these are completed too.
The script is plain shell: while somebody types, no Python starts.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path

from autotc.cli.parser import ShellParser
from autotc.errors import missing_dependency

_BASH_LIST = """_autotc_list() {
  local before=""
  case "$2" in *,*) before="${2%,*},";; esac
  compgen -P "$before" -W "$1" -- "${2##*,}"
}"""
_BASH_STUDIES = """_autotc_studies() {
  local folder
  for folder in runs/*/trials; do
    [ -d "$folder" ] && folder="${folder%/trials}" && compgen -W "${folder#runs/}" -- "$1"
  done
}"""
_ZSH_STUDIES = """_autotc_studies() {
  local -a studies
  studies=(runs/*/trials(N/:h:t))
  compadd -a studies
}"""
_FISH_STUDIES = """function __autotc_studies
  for folder in runs/*/trials
    string replace -r '^runs/(.*)/trials$' '$1' $folder
  end
end"""

Completer = Mapping[str, object]
"""What shtab takes: shell -> what completes, and under ``preamble`` the functions for it."""


def completion_script(shell: str) -> str:
    """The script that completes ``autotc`` in a shell.

    Args:
        shell: one of `autotc.cli.options.SHELLS`.

    Raises:
        MissingDependencyError: shtab is not installed.
    """
    try:
        import shtab
    except ImportError as error:
        raise missing_dependency(error) from error
    parser, names = ShellParser(), _completers()
    for action in parser.actions():
        if action.choices is None and action.nargs != 0:
            found = _completer(action, names, shtab.FILE, shtab.DIRECTORY)
            if found is not None:
                action.complete = found  # type: ignore[attr-defined]  # where shtab looks
    script: str = shtab.complete(parser.program, shell)
    return script


def _completer(
    action: argparse.Action, names: dict[str, Completer], file: Completer, folder: Completer
) -> Completer | None:
    """What completes the value of an option; None where anything may stand."""
    known = names.get(next(iter(action.option_strings), action.dest))
    if known is not None:
        return known
    if action.metavar in ("DIR", "FOLDER"):
        return folder
    if action.metavar in ("FILE", "FILE.jsonl", "POLICY", "PATH") or action.type is Path:
        return file
    return None


def _completers() -> dict[str, Completer]:
    """Option, or argument -> what completes it with names."""
    from autotc.mechanisms import MECHANISMS
    from autotc.models.published import PUBLISHED
    from autotc.presets import PRESETS
    from autotc.resources import search_spaces

    scores = sorted({score for preset in PRESETS.values() for score in preset.needs})
    studies: Completer = {
        "bash": "_autotc_studies",
        "zsh": "_autotc_studies",
        "fish": "(__autotc_studies)",
        "preamble": {"bash": _BASH_STUDIES, "zsh": _ZSH_STUDIES, "fish": _FISH_STUDIES},
    }
    return {
        "name": _names("presets", [*PRESETS, "all"]),
        "--presets": _names("preset_lists", [*PRESETS, "all"], several=True),
        "--mechanism": _names("mechanisms", MECHANISMS),
        "--mechanisms": _names("mechanism_lists", MECHANISMS, several=True),
        "--needs": _names("scores", scores),
        "--space": _names("spaces", sorted(path.stem for path in search_spaces().glob("*.yaml")), files=True),
        "--random-weights": _names("models", PUBLISHED),
        "--model": _names("checkpoints", PUBLISHED, files=True),
        "--metric": _names("metrics", ("exact", "contains")),
        "--attn-implementation": _names("attention", ("sdpa", "eager", "flash_attention_2")),
        "study": studies,
        "--resume": studies,
    }


def _names(what: str, names: Iterable[str], *, several: bool = False, files: bool = False) -> Completer:
    """Completes one of some names.

    Args:
        what: they are, for the name of the function.
        names: they.
        several: several may stand there, by commas.
        files: a file may stand there too.
    """
    words = " ".join(names)
    choose = '_autotc_list "{}" "$1"' if several else 'compgen -W "{}" -- "$1"'
    bash = f"_autotc_{what}() {{\n  {choose.format(words)}\n"
    zsh = f"_values -s , {what} {words}" if several else f"compadd -- {words}"
    complete = f"(__fish_complete_list , __autotc_{what})" if several else f"(__autotc_{what})"
    return {
        "bash": f"_autotc_{what}",
        "zsh": f"_autotc_{what}",
        "fish": complete + (" (__fish_complete_path (commandline -ct))" if files else ""),
        "preamble": {
            "bash": (_BASH_LIST + "\n" if several else "") + bash + ('  compgen -f -- "$1"\n' if files else "") + "}",
            "zsh": f"_autotc_{what}() {{\n  {zsh}\n" + ("  _files\n" if files else "") + "}",
            "fish": f"function __autotc_{what}\n  printf '%s\\n' {words}\nend",
        },
    }
