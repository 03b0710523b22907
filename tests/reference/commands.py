"""The document of the shell's commands, made from its parser."""

from __future__ import annotations

import argparse

from autotc.cli.failures import CHECK_FAILED, INTERRUPTED, OWN_FAULT, WRONG_INPUT
from autotc.cli.options import SHELLS
from autotc.cli.parser import COMMANDS, ShellParser

from .markdown import anchor, cell, table

COMMON = ("--help", "--json", "--debug")
"""Options of every command."""
INTRODUCTION = """# The commands of autotc

<!-- made by `python -m tests.reference`; change the commands, or tests/reference/commands.py -->

`autotc COMMAND --help` prints what stands here. Every command is one call of a function of `autotc`, named beside it;
options that every command takes are `--help`, `--json` (one JSON document on stdout, nothing else there, also of an
error) and `--debug` (where an unexpected error comes from).

stdout holds the result, stderr progress and errors. On a terminal, tables are no wider than it is: texts wrap, the
longest stand on lines of their own, and no number, path or name is broken; a file or a pipe gets every line whole.
Progress shows the seconds that are left; `NO_COLOR=1` leaves the colours of its bar out.

| exit code | meaning |
|---|---|
"""
CODES = {
    0: "done",
    CHECK_FAILED: "a check failed; of `export`: the engine cannot run this policy",
    WRONG_INPUT: "the input is wrong: one line says what, where and what would be right, or which name was meant",
    OWN_FAULT: "autotc is at fault; `--debug` shows where",
    INTERRUPTED: "interrupted; a search says how to go on",
}
COMPLETION = """
## Completion

The shell completes commands, options and their values: presets, mechanisms, studies of `runs`, search spaces, files.
No Python starts while you type.

    autotc --print-completion bash > ~/.local/share/bash-completion/completions/autotc
    autotc --print-completion zsh > ~/.zfunc/_autotc      # with fpath=(~/.zfunc $fpath) before compinit in ~/.zshrc
    autotc --print-completion fish > ~/.config/fish/completions/autotc.fish
"""


def text() -> str:
    """The document."""
    parser = ShellParser()
    codes = "".join(f"| {code} | {meaning} |\n" for code, meaning in CODES.items())
    names = [f"[`{name}`](#{anchor(name)})" for name in COMMANDS]
    assert all(f"--print-completion {shell} " in COMPLETION for shell in SHELLS)
    parts = [INTRODUCTION + codes + COMPLETION, "## Commands\n\n" + " ".join(names) + "\n"]
    return "\n".join([*parts, *(_command(name, parser) for name in COMMANDS)])


def _command(name: str, parser: ShellParser) -> str:
    command = COMMANDS[name]
    actions = [action for action in parser.actions(name) if not set(COMMON) & {*action.option_strings}]
    rows = [[_call(action), _help(action)] for action in actions]
    examples = "\n".join(f"    {example}" for example in command.examples)
    title = f"### {name}\n\n{command.description} Function: `autotc.{command.function}`.\n\n{examples}\n"
    return title + ("\n" + table(["argument", "what it does"], rows) + "\n" if rows else "")


def _call(action: argparse.Action) -> str:
    """An option with its value, as it is typed."""
    if action.option_strings:
        name = action.option_strings[0] + (" / " + action.option_strings[1] if len(action.option_strings) > 1 else "")
    else:
        name = ""
    value = "" if action.nargs == 0 else _value(action)
    call = cell(f"`{f'{name} {value}'.strip()}`")
    return call + (" (several times)" if isinstance(action, argparse._AppendAction) else "")


def _value(action: argparse.Action) -> str:
    if action.choices is not None:
        return "|".join(map(str, action.choices))
    shown = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return {"?": f"[{shown}]", "+": f"{shown} ..."}.get(str(action.nargs), shown)


def _help(action: argparse.Action) -> str:
    shown = cell(argparse.HelpFormatter("")._expand_help(action))
    return f"**needed**; {shown}" if action.required and action.option_strings else shown
