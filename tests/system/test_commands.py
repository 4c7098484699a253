"""The commands beside a running system, as a program and as a person use them, and the lines that `tria up` prints."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest

from server.embedded.instructions import instructions
from server.embedded.ports import Ports
from server.embedded.stack import Running
from tests.support.system import System

ROOT = Path(__file__).parents[2]


async def tria(*arguments: str, state: Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command without a terminal."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server", *arguments,
        cwd=ROOT, env={**os.environ, "TRIA_STATE_DIR": str(state)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, complaint = await asyncio.wait_for(process.communicate(), 120)
    return process.returncode or 0, output.decode(), complaint.decode()


async def test_doctor_says_what_is_configured_and_reachable(live: System) -> None:
    code, output, _ = await tria("doctor", "--json", state=live.state_dir)
    assert code == 0
    report = json.loads(output)
    assert {part for part, found in report["parts"].items() if found["ok"]} == {
        "PostgreSQL", "Redis", "Chroma", "token keys", "model", "books",
    }  # fmt: skip
    assert report["configuration"]["store.database_url"] == "Secret(set)"
    environment = json.loads((live.state_dir / "environment.json").read_text())
    assert not [
        name for name in ("TRIA_DATABASE_URL", "TRIA_REDIS_URL", "TRIA_STATE_SECRET") if environment[name] in output
    ]


async def sick_parts(environ: dict[str, str]) -> dict[str, str]:
    """What `tria doctor` finds not well with these variables, and what it says of each."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server", "doctor", "--json",
        cwd=ROOT, env={**os.environ, **environ}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 1
    return {name: found["said"] for name, found in json.loads(output)["parts"].items() if not found["ok"]}


async def test_doctor_tells_what_is_not_reachable(live: System) -> None:
    environ = {**json.loads((live.state_dir / "environment.json").read_text()), "TRIA_CHROMA_URL": "http://127.0.0.1:9"}
    parts = await sick_parts(environ)
    assert list(parts) == ["Chroma"]


async def test_doctor_looks_at_sessions_behind_a_pooler(live: System) -> None:
    """There is none here; what it would not pass on is missing all the same."""
    environ = json.loads((live.state_dir / "environment.json").read_text())
    environ["TRIA_DATABASE_DIRECT_URL"] = environ["TRIA_DATABASE_URL"]
    parts = await sick_parts(environ)
    assert list(parts) == ["pooler"]
    assert "statement_timeout is off" in parts["pooler"]


async def test_doctor_names_every_mistake(live: System) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server", "doctor", "--json",
        cwd=ROOT, env={**os.environ, "TRIA_DATABASE_URL": "postgresql://x"}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 2
    assert len(json.loads(output)["problems"]) > 5


async def test_knowledge_import_for_a_program(live: System, tmp_path: Path) -> None:
    (tmp_path / "ovens.md").write_text("# Ovens\n\nLumen rents pizza ovens for SGD 77 a month.\n")
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-nothing")
    code, output, complaint = await tria(
        "knowledge", "import", str(tmp_path), "--tenant", "demo", "--json", state=live.state_dir
    )
    assert code == 1, "one file was bad"
    report = json.loads(output)
    assert "broken.pdf" in output + complaint
    assert "\x1b[" not in output + complaint, "colours are for terminals"
    assert report
    reply = await live.answers("How much is renting a pizza oven?")
    assert "77" in reply["text"]
    assert reply["citations"][0]["document"] == "documents/ovens"
    code, _, _ = await tria(
        "knowledge", "import", str(tmp_path / "ovens.md"), "--tenant", "demo", "--json", state=live.state_dir
    )
    assert code == 0, "the same again changes nothing"


async def test_products_import_reports_bad_rows(live: System, tmp_path: Path) -> None:
    header = "sku,name,aliases,name_zh,name_ms,unit,pack_size,price,currency,tax_code,min_quantity,stock,category\n"
    good = "OV-1,Pizza oven,oven,披萨炉,Ketuhar piza,piece,1,77.00,SGD,SR,1,3,ovens\n"
    bad = "OV-2,Free oven,,,,piece,1,0,SGD,SR,1,3,ovens\n"
    (tmp_path / "more.csv").write_text(header + good + bad, encoding="utf-8")
    code, output, _ = await tria(
        "products", "import", str(tmp_path / "more.csv"), "--tenant", "demo", "--json", state=live.state_dir
    )
    assert code == 1
    report = json.loads(output)
    assert report["created"] == 1
    assert [error["line"] for error in report["errors"]] == [3]
    assert "77.00" in (await live.answers("How much is a pizza oven?"))["text"]


async def test_a_person_sees_progress_and_colours(live: System, tmp_path: Path) -> None:
    (tmp_path / "parking.md").write_text("# Parking\n\nVans park at bay 4.\n")
    reader, writer = os.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "server", "knowledge", "import", str(tmp_path), "--tenant", "demo",
        cwd=ROOT, env={**os.environ, "TRIA_STATE_DIR": str(live.state_dir), "TERM": "xterm-256color"},
        stdin=writer, stdout=writer, stderr=writer,
    )  # fmt: skip
    os.close(writer)
    shown = await asyncio.to_thread(read_all, reader)
    assert await process.wait() == 0
    assert "\x1b[" in shown
    assert "parking" in shown


def read_all(terminal: int) -> str:
    """What was written to the terminal until its last writer closed it."""
    parts = []
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # EIO: the other side is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(terminal)
    return b"".join(parts).decode(errors="replace")


@pytest.fixture
def printed(live: System) -> list[str]:
    """The command lines that `tria up` prints for a person."""
    ports = Ports(**json.loads((live.state_dir / "ports.json").read_text()))
    descriptor = ROOT / "proto" / "gen" / "tria.binpb"
    token, conversation = live.state_dir / "token", "conversations/CONVERSATION"
    books = live.ready["xero_sandbox"]
    running = Running(ports, live.state_dir, "offline", descriptor, token, conversation, books)
    return [
        line.strip() for line in instructions(running).splitlines() if re.match(r"\s+(curl|\S*/(buf|python)) ", line)
    ]


async def test_each_printed_line_runs_word_for_word(live: System, printed: list[str]) -> None:
    assert len(printed) == 6
    conversation = (await live.answers("hello"))["conversation"]
    expected = ("SERVING", "SGD 18", "data: {", "SGD 18", "SGD 18", "SGD 18")
    for line, wanted in zip(printed, expected, strict=True):
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", line.replace("conversations/CONVERSATION", conversation),
            cwd=Path.cwd(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, complaint = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, (line, complaint.decode())
        assert wanted in output.decode(), line
