"""The shape of the tree: files and functions to be read at once, names that say something, nothing of one machine."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_OURS = {"node_modules", "__pycache__", "gen", "dist", "reports"}  # installed, cached or generated
CODE = {".py", ".ts", ".tsx", ".js", ".css"}
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60
EMPTY_NAMES = re.compile(r"^(utils?|helpers?|common|misc|base|manager|core)$|_v2$|^enhanced_")
# Written so that this file does not find itself.
ONE_MACHINE = re.compile(r"(?<![\w.])/(?:root|home|farm|work|Users)/|pypi[.]org|registry[.]npmjs|deb[.]debian")
LOCKS = {"uv.lock", "package-lock.json"}  # they name where each package comes from; that is their purpose


def files() -> Iterator[Path]:
    """Every file of the tree that a person writes, hidden folders of tools left out."""
    for folder, folders, names in os.walk(ROOT):
        hidden = {name for name in folders if name.startswith(".") and name not in {".ci", ".github"}}
        folders[:] = sorted(set(folders) - NOT_OURS - hidden)
        yield from (Path(folder) / name for name in sorted(names) if name != ".git")  # a file in a worktree


def text_files() -> Iterator[tuple[str, str]]:
    """Path from the root and text of every file that is text."""
    for path in files():
        content = path.read_bytes()
        if b"\0" not in content:
            yield str(path.relative_to(ROOT)), content.decode(errors="replace")


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return dict(text_files())


def test_the_walk_finds_the_tree(texts: dict[str, str]) -> None:
    assert {"Makefile", ".ci/run", "server/errors.py", "proto/generate.py"} <= texts.keys()
    assert not [name for name in texts if name.startswith(("proto/gen/", ".venv/", ".tools/", ".git/"))]


def test_no_file_is_too_long(texts: dict[str, str]) -> None:
    long = {name: text.count("\n") for name, text in texts.items() if Path(name).suffix in CODE}
    assert not {name: lines for name, lines in long.items() if lines > MOST_LINES}


def test_no_function_is_too_long(texts: dict[str, str]) -> None:
    long = {
        f"{name}:{node.lineno} {node.name}": lines
        for name, text in texts.items()
        if name.endswith(".py")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > MOST_LINES_OF_A_FUNCTION
    }
    assert not long


def test_every_name_says_something(texts: dict[str, str]) -> None:
    assert not [name for name in texts if any(EMPTY_NAMES.search(Path(part).stem) for part in Path(name).parts)]


def test_nothing_names_one_machine(texts: dict[str, str]) -> None:
    found = [
        f"{name}:{number}: {line.strip()[:120]}"
        for name, text in texts.items()
        if Path(name).name not in LOCKS
        for number, line in enumerate(text.splitlines(), start=1)
        if ONE_MACHINE.search(line)
    ]
    assert not found


@pytest.mark.parametrize("line", ["cd /" + "work/main", "see /" + "root/.cache", "https://" + "pypi" + ".org/simple"])
def test_one_machine_is_recognised(line: str) -> None:
    assert ONE_MACHINE.search(line)
