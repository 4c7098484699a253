"""What README.md says is so: its routes, its variables, its commands, and its lines of shell."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from google.api import annotations_pb2

from interceptors.policy import contract, read_policies
from interceptors.unserved import unserved
from server.cli import main
from server.config import ConfigError, load
from server.served import SERVED
from tests.support.system import System

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def rows(header: str) -> list[list[str]]:
    """The cells of the table under the given header line."""
    lines = README.splitlines()
    found = []
    for line in lines[lines.index(header) + 2 :]:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found


def routes() -> Iterator[tuple[str, str, str]]:
    """(service, RPC, route) of every RPC in the contract, with its note, as README writes them."""
    methods = {f"/{service.full_name}/{method.name}": method for service in contract() for method in service.methods}
    missing = set(unserved_paths())
    for path, method in methods.items():
        http = method.GetOptions().Extensions[annotations_pb2.http]
        bindings = [http, *http.additional_bindings] if http.WhichOneof("pattern") else []
        written = ", ".join(
            f"`{b.WhichOneof('pattern').upper()} {getattr(b, b.WhichOneof('pattern'))}`" for b in bindings
        )
        stream = " → stream" if method.server_streaming else " ← stream" if method.client_streaming else ""
        planned = ", *planned*" if path in missing else ""
        yield method.containing_service.name, f"`{method.name}`{stream}{planned}", written or "gRPC only"


def unserved_paths() -> list[str]:
    return unserved(read_policies(contract()).values(), SERVED)


def test_the_route_table_is_the_contract() -> None:
    assert [tuple(row) for row in rows("| service | RPC | route |")] == list(routes())


class Recording(dict[str, str]):
    """An environment that remembers what was asked for."""

    asked: set[str]

    def get(self, key: str, default: str | None = None) -> str | None:  # type: ignore[override]
        self.asked.add(key)
        return super().get(key, default)


def test_the_configuration_table_is_what_is_read() -> None:
    environ = Recording()
    environ.asked = set()
    with pytest.raises(ConfigError):
        load(environ, version="1")
    named = {name for row in rows("| variable | meaning |") for name in re.findall(r"`([A-Z_]+)`", row[0])}
    assert named == environ.asked


def test_the_command_table_is_the_command_line() -> None:
    named = {name for row in rows("| command | what it does |") for name in re.findall(r"`tria ([a-z]+)", row[0])}
    assert named == set(main.list_commands(None))  # type: ignore[arg-type]


def blocks() -> list[str]:
    """The shell blocks of "Calling it", as they stand."""
    section = README.split("## Calling it")[1].split("\n## ")[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


async def shell(text: str, folder: Path, environ: Mapping[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", text,
        cwd=folder, env=dict(environ), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, complaint = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, complaint.decode()
    return output.decode()


EXPECTED = ('"status":"SERVING"', "SGD 18", "data: {", "3 working days")


@pytest.mark.parametrize(("block", "expected"), list(zip(blocks(), EXPECTED, strict=True)))
async def test_each_shell_block_runs_word_for_word(live: System, tmp_path: Path, block: str, expected: str) -> None:
    """Word for word but for the port, which is 8080 only where it is free."""
    address = live.ready["grpc"]
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    environ = {**os.environ, "TRIA_STATE_DIR": str(live.state_dir)}
    assert expected in await shell(block.replace("127.0.0.1:8080", address), tmp_path, environ)
