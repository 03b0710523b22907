"""Measure a source tree as `house.md` does: ``python tests/benchmarks/house.py [TREE] [--package autotc]``.

Files are those of the package. A body is a function from its `def` to its end without its docstring; comments and blank
lines count. Nothing of the tree is imported.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Measured:
    """One function.

    Attributes:
        path: file that it stands in.
        name: its name.
        line: line of its `def`.
        body: lines from its `def` to its end, its docstring left out.
        parameters: without self and cls.
        typed: whether it says what it returns.
        documented: whether it has a docstring.
    """

    path: Path
    name: str
    line: int
    body: int
    parameters: int
    typed: bool
    documented: bool


def functions(path: Path) -> list[Measured]:
    """All functions and methods of a file, inner ones too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [_measured(path, node) for node in ast.walk(tree) if isinstance(node, Function)]


def _measured(path: Path, node: Function) -> Measured:
    documented = ast.get_docstring(node) is not None
    docstring = node.body[0]
    body = (node.end_lineno or 0) - node.lineno + 1
    if documented:
        body -= (docstring.end_lineno or 0) - docstring.lineno + 1
    arguments = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    arguments += [a.arg for a in (node.args.vararg, node.args.kwarg) if a]
    parameters = len(arguments) - (arguments[:1] in (["self"], ["cls"]))
    return Measured(path, node.name, node.lineno, body, parameters, node.returns is not None, documented)


def uses_of_any(path: Path) -> int:
    """Times the name `Any` stands in a file, its import left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = sum(isinstance(node, ast.Name) and node.id == "Any" for node in ast.walk(tree))
    attributes = sum(isinstance(node, ast.Attribute) and node.attr == "Any" for node in ast.walk(tree))
    return names + attributes


def imports_inside_functions(path: Path) -> list[tuple[int, str]]:
    """Line and module of each import statement inside a function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside: dict[int, str] = {}
    for function in (node for node in ast.walk(tree) if isinstance(node, Function)):
        for node in ast.walk(function):
            if isinstance(node, ast.ImportFrom):
                inside[node.lineno] = node.module or "."
            elif isinstance(node, ast.Import):
                inside[node.lineno] = node.names[0].name
    return sorted(inside.items())


def asserts(path: Path) -> int:
    """`assert` statements and uses of `pytest.raises` in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    statements = sum(isinstance(node, ast.Assert) for node in ast.walk(tree))
    raises = sum(
        isinstance(node, ast.Attribute) and node.attr == "raises" and ast.unparse(node) == "pytest.raises"
        for node in ast.walk(tree)
    )
    return statements + raises


def lines(path: Path) -> int:
    """Lines of a text file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def sources(folder: Path) -> list[Path]:
    """Python files below a folder, sorted."""
    return sorted(folder.rglob("*.py"))


def quantile(values: Iterable[int], share: float) -> int:
    """The value that at least this share of the values does not exceed (0 of none)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0


def table(tree: Path, package: str) -> Iterator[tuple[str, str]]:
    """Rows of the table: what is counted, and the count."""
    files = sources(tree / package)
    lengths = [lines(path) for path in files]
    found = [function for path in files for function in functions(path)]
    bodies = [function.body for function in found]
    widest = max(found, key=lambda function: function.parameters)
    readme = tree / "README.md"
    tests = sources(tree / "tests")
    skips = sum(len(re.findall(r"# fmt: skip", path.read_text(encoding="utf-8"))) for path in (*files, *tests))
    yield "files", str(len(files))
    yield "file: median / p90 / longest", f"{median(lengths):.0f} / {quantile(lengths, 0.9)} / {max(lengths)}"
    yield (
        "function body: median / p90 / p99",
        " / ".join(f"{value:.0f}" for value in (median(bodies), quantile(bodies, 0.9), quantile(bodies, 0.99))),
    )
    yield "longest body", str(max(bodies))
    yield "most parameters", f"{widest.parameters} ({widest.name})"
    yield (
        "return types / docstrings",
        " / ".join(
            f"{100 * sum(flags) / len(flags):.0f}%"
            for flags in ([f.typed for f in found], [f.documented for f in found])
        ),
    )
    yield "uses of `Any`", str(sum(uses_of_any(path) for path in files))
    yield "imports inside functions", str(sum(len(imports_inside_functions(path)) for path in files))
    yield "README lines", str(lines(readme) if readme.exists() else 0)
    yield "test files: count / longest", f"{len(tests)} / {max((lines(path) for path in tests), default=0)}"
    yield "asserts in tests", str(sum(asserts(path) for path in tests))
    yield "`fmt: skip`", str(skips)


def main() -> None:
    """Print the table of one tree, or of several side by side."""
    parser = argparse.ArgumentParser(description="Measure source trees: files, functions, types, tests.")
    parser.add_argument("trees", nargs="*", type=Path, default=[Path(__file__).parents[2]], metavar="TREE")
    parser.add_argument("--package", default="autotc", help="folder of the sources in each tree")
    args = parser.parse_args()
    columns = [dict(table(tree, args.package)) for tree in args.trees]
    print("|  | " + " | ".join(tree.resolve().name for tree in args.trees) + " |")
    print("|---|" + "---|" * len(columns))
    for row in columns[0]:
        print(f"| {row} | " + " | ".join(column[row] for column in columns) + " |")


if __name__ == "__main__":
    main()
