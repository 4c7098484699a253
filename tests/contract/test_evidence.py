"""The evidence map names what exists: tests down to their functions, commands, metrics. Nothing else is evidence."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import click
import pytest

from server.cli import main

ROOT = Path(__file__).parents[2]
EVIDENCE = ROOT / "server" / "audit" / "EVIDENCE.md"
DOCUMENTS = (EVIDENCE, ROOT / "server" / "OPERATIONS.md", ROOT / "server" / "chat" / "COSTS.md")
TEXT = EVIDENCE.read_text(encoding="utf-8")
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", TEXT)))


def spoken() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in DOCUMENTS}


@pytest.mark.parametrize("named", TESTS)
def test_a_named_test_exists(named: str) -> None:
    path, _, function = named.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert not function or function in functions


def test_each_row_names_something_to_run_or_ask() -> None:
    rows = [
        line
        for line in TEXT.splitlines()
        if line.startswith("| ") and not line.startswith(("| criterion", "| article"))
    ]
    assert len(rows) > 30
    assert not [row for row in rows if "`" not in row.rpartition(" | ")[2] and "`" not in row and "promise" not in row]


@pytest.mark.parametrize("name", sorted(spoken()))
def test_named_commands_exist(name: str) -> None:
    for line in re.findall(r"`tria ([a-z][a-z -]*[a-z])`", spoken()[name]):
        command: click.Command = main
        for word in line.split(" --")[0].split():
            assert isinstance(command, click.Group), f"tria {line}"
            found = command.get_command(click.Context(command), word)
            assert found is not None, f"tria {line}"
            command = found


@pytest.mark.parametrize("name", sorted(spoken()))
def test_named_metrics_and_variables_are_in_the_program(name: str) -> None:
    program = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("server", "interceptors")
        for path in (ROOT / folder).rglob("*.py")
    )
    for metric in re.findall(r"`(tria_[a-z_]+)`", spoken()[name]):
        assert f'"{metric}"' in program, metric
    for variable in re.findall(r"`((?:TRIA|OPENAI|XERO)_[A-Z_]+)`", spoken()[name]):
        assert f'"{variable}"' in program, variable


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_named_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for text in spoken().values():
        for targets in re.findall(r"`make ([a-z -]+?)(?: MINUTES=\d+| ARGS=[^`]*)?`", text):
            assert not [target for target in targets.split() if not re.search(rf"^{target}:", makefile, re.MULTILINE)]
