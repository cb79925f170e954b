"""The package is built as docs/architecture.md draws it; read from the imports, without torch."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "ssbsn_cli"
# Each may import those before it.
ORDER = (
    "errors", "types", "runtime", "imaging", "model", "weights", "noise", "data", "inference",
    "training", "report", "evaluation", "cli",
)  # fmt: skip
# What everything may import, so that the diagram leaves it out.
EVERYWHERE = {"errors", "types"}
MOST_LINES = 300


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


FILES = {name_of(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}


def imports_of(path: Path, *, lazy: bool = True) -> Iterator[str]:
    """Name what a file imports; without `lazy`, only what it does when it is imported itself."""

    def visit(node: ast.AST) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (alias.name for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert not child.level, f"{path} has a relative import"
                for alias in child.names:
                    full = f"{child.module}.{alias.name}"
                    yield full if full in FILES else str(child.module)
            elif lazy or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from visit(child)

    yield from visit(ast.parse(path.read_text("utf-8")))


@cache
def graph() -> dict[str, set[str]]:
    """Map each file to the files of the package that it imports, wherever in it."""
    return {name: {to for to in imports_of(path) if to in FILES} for name, path in FILES.items()}


def room_of(name: str) -> str:
    """Return the package of a file: one of `ORDER`, or "" for the entrance of all."""
    _, *parts = name.split(".")
    if parts[:1] == ["core"]:
        return parts[1] if len(parts) > 1 else ""
    return parts[0] if parts[:1] == ["cli"] else ""


def room_graph() -> dict[str, dict[str, list[str]]]:
    """Map each package to those it imports, and to the files that do."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, imported in graph().items():
        for other in imported:
            ours, theirs = room_of(name), room_of(other)
            # The version and the lazy interface of the package itself belong to no room.
            if ours and theirs and ours != theirs:
                found[ours][theirs].append(f"{name} imports {other}")
    return found


@pytest.mark.parametrize("kind", ["files", "packages"])
def test_imports_go_round_in_no_circle(kind):
    edges = graph() if kind == "files" else {a: set(b) for a, b in room_graph().items()}
    # Whatever says its version imports the package, which imports the interface lazily.
    edges = {name: others - {PACKAGE} for name, others in edges.items()}
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_packages_import_only_what_lies_below_them():
    wrong = [
        example
        for ours, others in room_graph().items()
        for theirs, examples in others.items()
        if ORDER.index(ours) < ORDER.index(theirs)
        for example in examples
    ]
    assert not wrong


def test_the_diagram_is_what_the_imports_are():
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    (diagram,) = re.findall(r"^```mermaid\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    drawn = {
        (ours, theirs)
        for ours, others in re.findall(r"^ +(\w+) --> (.*)$", diagram, re.MULTILINE)
        for theirs in others.split(" & ")
    }
    real = {
        (ours, theirs)
        for ours, others in room_graph().items()
        for theirs in others
        if theirs not in EVERYWHERE
    }
    assert drawn == real


def test_models_know_tensors_only():
    allowed = (f"{PACKAGE}.core.{room}" for room in ("model.", "types", "runtime.convolution"))
    names = tuple(allowed)
    wrong = {
        f"{name} imports {other}"
        for name, imported in graph().items()
        if room_of(name) == "model"
        for other in imported
        if not other.startswith(names)
    }
    assert not wrong


def test_private_parts_of_torch_are_used_in_one_file():
    files = {
        name
        for name, path in FILES.items()
        if re.search(r"\btorch\.(ops\b|(\w+\.)*_[a-z])", path.read_text("utf-8"))
    }
    assert files == {f"{PACKAGE}.core.runtime.operations"}


@pytest.mark.parametrize("room", ["imaging", "noise", "data", "report"])
def test_no_torch_where_pixels_are_arrays(room):
    reached, waiting = set(), [name for name in FILES if room_of(name) == room]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        # What is imported lazily is needed by one function alone. Imaging has no such function.
        named = list(imports_of(FILES[name], lazy=room == "imaging"))
        assert not [other for other in named if other.split(".")[0] == "torch"], name
        waiting += [other for other in named if other in FILES and other != PACKAGE]


def test_no_two_files_have_the_same_name():
    places = defaultdict(list)
    for path in FILES.values():
        if not path.stem.startswith("__"):
            places[path.stem].append(str(path.relative_to(ROOT)))
    assert not [same for same in places.values() if len(same) > 1]


def test_files_are_short_enough_to_be_read():
    folder = ROOT / PACKAGE
    long = [
        path.relative_to(folder).as_posix()
        for path in FILES.values()
        if len(path.read_text("utf-8").splitlines()) > MOST_LINES
    ]
    assert long == []
