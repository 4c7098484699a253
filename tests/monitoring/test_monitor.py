"""`tria monitor` as a person starts it: refused where it must be, told in words, gone without a trace."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

from tests.support.monitored import Watch
from tests.support.system import System, run


async def refusal(state_dir: Path) -> tuple[int | None, str]:
    process = await run("monitor", "--state-dir", str(state_dir), stderr=asyncio.subprocess.PIPE)
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, errors.decode()


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_without_a_system_it_says_what_to_do(tmp_path: Path) -> None:
    code, said = await refusal(tmp_path)
    assert code == 1
    assert "`make run` first" in said


async def test_a_system_is_watched_once(live: System, watch: Watch) -> None:
    before = (live.state_dir / "monitoring" / "ports.json").read_text()
    code, said = await refusal(live.state_dir)
    assert code == 1
    assert f"in use by process {watch.process.pid}" in said
    assert (live.state_dir / "monitoring" / "ports.json").read_text() == before


async def test_ctrl_c_leaves_nothing_behind(live: System, tmp_path: Path) -> None:
    """On a copy of what says where the system is: the session's own watch goes on."""
    for name in ("ports.json", "environment.json"):
        (tmp_path / name).write_text((live.state_dir / name).read_text())
    process = await run("monitor", "--state-dir", str(tmp_path))
    assert process.stdout is not None
    said = b""
    while b"Ctrl-C ends the watching" not in said:
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        assert line, "it ended"
        said += line
    pids: dict[str, int] = json.loads((tmp_path / "monitoring" / "pids.json").read_text())
    assert len(pids) == 7  # six tools, and the one that started them
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 60) == 0
    assert not [name for name, pid in pids.items() if runs(pid)]
    assert not (tmp_path / "monitoring" / "pids.json").exists()
    assert os.environ.get("DATA_SOURCE_NAME") is None
