"""`tria deploy smoke` on a real system, as whoever has just deployed one runs it; and `tria probe` on its server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.support.system import System
from tests.system.test_commands import tria


async def _tokens(live: System, folder: Path) -> tuple[Path, Path]:
    code, auditor, complaint = await tria("token", "--role", "AUDITOR", state=live.state_dir)
    assert code == 0, complaint
    (folder / "auditor").write_text(auditor)
    return live.state_dir / "token", folder / "auditor"


async def test_a_fit_environment_passes_with_order_invoice_and_proof(live: System, tmp_path: Path) -> None:
    customer, auditor = await _tokens(live, tmp_path)
    _, key, _ = await tria("audit", "key", state=live.state_dir)
    code, output, complaint = await tria(
        "deploy", "smoke", "--url", live.ready["http"], "--token-file", str(customer), "--auditor-token-file",
        str(auditor), "--audit-key", key.strip().splitlines()[-1], "--book", "--json",
        # Little, or it is held for staff as more than usual where others of this system have ordered before.
        "--sku", "NP-33-2", "--quantity", "14", state=live.state_dir,
    )  # fmt: skip
    report = json.loads(output)
    said = {check["name"]: check["said"] for check in report["checks"]}
    assert code == 0, "\n".join((*said.values(), complaint))
    assert "serving" in said["health"]
    assert "sources" in said["question"]
    assert "SGD" in said["quote"]
    assert "is booked: AUTHORISED" in said["invoice"]
    assert "signature checked" in said["audit"]


async def test_each_part_that_is_wrong_is_named(live: System, tmp_path: Path) -> None:
    """A token that nobody takes, and a goods number that there is not: every check still runs."""
    (tmp_path / "bad").write_text("not.a.token")
    code, output, _ = await tria(
        "deploy", "smoke", "--url", live.ready["http"], "--token-file", str(tmp_path / "bad"), "--json",
        state=live.state_dir,
    )  # fmt: skip
    assert code == 1
    checks = {check["name"]: check["ok"] for check in json.loads(output)["checks"]}
    assert checks == {"health": True, "question": False, "quote": False, "invoice": False, "audit": True}


async def test_an_environment_that_is_not_there_fails(live: System, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x")
    code, output, _ = await tria(
        "deploy", "smoke", "--url", "http://127.0.0.1:9", "--token-file", str(tmp_path / "token"), state=live.state_dir
    )
    assert code == 1
    assert output.count("FAIL") == 4


@pytest.mark.parametrize("service", ["", "alive", "tria.chat.v1.ChatService"])
async def test_probe_says_that_it_serves(live: System, service: str) -> None:
    target = json.loads((live.state_dir / "environment.json").read_text())["TRIA_GRPC_LISTEN"]
    code, output, _ = await tria("probe", "--target", target, "--service", service, state=live.state_dir)
    assert (code, output) == (0, "SERVING\n")


async def test_probe_fails_where_nobody_serves(live: System) -> None:
    code, _, complaint = await asyncio.wait_for(tria("probe", "--target", "127.0.0.1:9", state=live.state_dir), 30)
    assert code == 1
    assert "does not answer: UNAVAILABLE" in complaint
    target = json.loads((live.state_dir / "environment.json").read_text())["TRIA_GRPC_LISTEN"]
    code, _, complaint = await tria("probe", "--target", target, "--service", "nobody", state=live.state_dir)
    assert code == 1
    assert "NOT_FOUND" in complaint
