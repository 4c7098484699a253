"""`tria audit export`, `verify`, `key` and `report` as programs."""

from __future__ import annotations

import base64
import csv
import io
import json
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
import pytest_asyncio

from server.audit.actions import Action, Decision
from server.audit.export_file import ExportFile
from server.audit.leaf import Actor
from tests.rpc.test_knowledge_commands import tria
from tests.support.trail import Trail
from tria.audit.v1 import audit_service_pb2 as rpc

TODAY = datetime.now(UTC).date()
PERIOD = ("--from", f"{TODAY - timedelta(days=1)}", "--to", f"{TODAY + timedelta(days=2)}")


@pytest_asyncio.fixture
async def state_dir(trail: Trail, tmp_path: Path) -> Path:
    """What `tria up` leaves for commands, and a log of 1,300 events."""
    key = "test=" + "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE="
    (tmp_path / "environment.json").write_text(json.dumps({"TRIA_DATABASE_URL": trail.dsn, "TRIA_AUDIT_KEY": key}))
    await trail.add(1300)
    return tmp_path


async def test_an_export_is_verified_on_its_own(trail: Trail, state_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "acme.ndjson"
    code, output, errors = await tria(
        "audit", "export", "--tenant", "acme", "--out", out, "--state-dir", state_dir, "--last", "1299"
    )
    assert (code, output) == (0, ""), errors
    assert "records 0 to 1299" in errors
    code, public, _ = await tria("audit", "key", "--state-dir", state_dir)
    assert code == 0
    assert public.strip() == str(trail.config.audit.key.public)
    # Nothing of the system: no variables, no directory, no database.
    code, output, _ = await tria("audit", "verify", out, "--key", public.strip(), "--json")
    verdict = json.loads(output)
    assert (code, verdict["valid"], verdict["count"], verdict["key_trusted"]) == (0, True, 1300, True)
    code, output, _ = await tria("audit", "verify", out)
    assert code == 0
    assert output.startswith("PROVEN: records 0 to 1299 of tria/acme")
    assert "Not proven by this:" in output
    assert "names it itself" in output
    await trail.signed()
    actor = "select count(*) from audit_event where action = 'AUDIT_EXPORT' and actor like 'operator:%'"
    assert await trail.value(actor) == 1


async def test_a_bad_export_is_named(state_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "acme.ndjson"
    await tria("audit", "export", "--tenant", "acme", "--out", out, "--state-dir", state_dir)
    out.write_bytes(out.read_bytes().replace(b'"decision":"ALLOWED"', b'"decision":"DENIED"', 1))
    code, output, errors = await tria("audit", "verify", out)
    assert (code, output) == (1, "")
    assert "NOT PROVEN (line 4): record 0: decision is not what its leaf says" in errors
    code, output, _ = await tria("audit", "verify", out, "--json")
    assert code == 1
    assert json.loads(output) == {
        "valid": False,
        "error": "record 0: decision is not what its leaf says",
        "line": 4,
        "seq": 0,
    }


async def test_verify_knows_wrong_use(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("no note")
    for arguments in (["absent"], [file, "--key", "nonsense"], [file, "--checkpoint", file], [file, "--proof", file]):
        code, _, errors = await tria("audit", "verify", *arguments)
        assert code == 2, errors
    code, _, errors = await tria("audit", "verify", file)
    assert (code, "NOT PROVEN (line 1)" in errors) == (1, True)


async def test_a_kept_checkpoint_is_compared(trail: Trail, state_dir: Path, tmp_path: Path) -> None:
    """Inside the range from the export alone, elsewhere with a consistency proof."""
    who, public = trail.who(), str(trail.config.audit.key.public)
    kept = await trail.stub.GetCheckpoint(rpc.GetCheckpointRequest(), metadata=who)
    note = tmp_path / "kept.note"
    note.write_text(kept.note)
    await trail.add(50)
    whole, part = tmp_path / "whole.ndjson", tmp_path / "part.ndjson"
    await tria("audit", "export", "--tenant", "acme", "--out", whole, "--state-dir", state_dir)
    code, output, errors = await tria("audit", "verify", whole, "--checkpoint", note)
    assert code == 0, errors
    assert "the checkpoint you kept" in output
    line = tmp_path / "kept.json"
    line.write_text((trail.config.audit.checkpoint_file or tmp_path).read_text().splitlines()[0])
    code, output, errors = await tria("audit", "verify", whole, "--checkpoint", line, "--key", public)
    assert code == 0, errors
    await tria("audit", "export", "--tenant", "acme", "--last", "9", "--out", part, "--state-dir", state_dir)
    code, _, errors = await tria("audit", "verify", part, "--checkpoint", note)
    assert code == 1
    assert "--proof" in errors
    size = json.loads(part.read_bytes().splitlines()[0])["tree_size"]
    proof = await trail.stub.GetConsistencyProof(
        rpc.GetConsistencyProofRequest(first=kept.tree_size, second=size), metadata=who
    )
    answer = {"first": str(proof.first), "second": str(proof.second), "hashes": [_text(x) for x in proof.hashes]}
    (tmp_path / "proof.json").write_text(json.dumps(answer))
    arguments = (part, "--checkpoint", note, "--proof", tmp_path / "proof.json", "--json")
    code, output, errors = await tria("audit", "verify", *arguments)
    assert code == 0, errors
    assert json.loads(output)["extends_checkpoint"] is True
    (tmp_path / "proof.json").write_text(json.dumps(answer | {"hashes": answer["hashes"][::-1]}))
    code, output, _ = await tria("audit", "verify", *arguments)
    assert code == 1
    assert "the checkpoint that was kept" in json.loads(output)["error"]


def _text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


@pytest.mark.parametrize(
    ("form", "kept_bytes"), [("ndjson", 100), ("ndjson", 200_000), ("ndjson", -1), ("csv", 200_000), ("ocsf", 200_000)]
)
async def test_an_interrupted_export_goes_on(
    trail: Trail, state_dir: Path, tmp_path: Path, form: str, kept_bytes: int
) -> None:
    """Also when the log has grown: the part goes on under the checkpoint that it began under."""
    export = ("audit", "export", "--tenant", "acme", "--format", form, "--last", "1299", "--state-dir", state_dir)
    whole, out = tmp_path / "whole", tmp_path / "out"
    code, _, errors = await tria(*export, "--out", whole)
    assert code == 0, errors
    part, about = out.with_name("out.part"), out.with_name("out.part.json")
    content = whole.read_bytes()
    part.write_bytes(content[:kept_bytes])
    size = json.loads(content.splitlines()[0])["tree_size"] if form == "ndjson" else _size(content, form)
    about.write_text(json.dumps({"tenant": "acme", "form": form, "first": 0, "last": 1299, "tree_size": size}))
    assert ExportFile(out).begun() is not None
    await trail.add(3)
    code, _, errors = await tria(*export, "--out", out)
    assert code == 0, errors
    assert _timeless(out.read_bytes()) == _timeless(content)
    assert not part.exists()
    assert not about.exists()


def _size(content: bytes, form: str) -> int:
    if form == "csv":
        details = list(csv.DictReader(io.StringIO(content.decode())))[-1]["details"]
        return int(json.loads(details)["tree_size"])
    return int(json.loads(content.splitlines()[-1])["data"]["checkpoint"]["tree_size"])


def _timeless(content: bytes) -> bytes:
    """Without the time of the end record of CloudEvents."""
    *lines, last = content.splitlines()
    if last.startswith(b'{"specversion"'):
        last = json.dumps({**json.loads(last), "time": ""}).encode()
    return b"\n".join([*lines, last])


async def test_another_export_is_not_continued(state_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.with_name("out.part").write_bytes(b"")
    about = {"tenant": "globex", "form": "csv", "first": 0, "last": 5, "tree_size": 9}
    out.with_name("out.part.json").write_text(json.dumps(about))
    code, _, errors = await tria("audit", "export", "--tenant", "acme", "--out", out, "--state-dir", state_dir)
    assert code == 1
    assert "another export" in errors
    assert json.loads(out.with_name("out.part.json").read_text()) == about


async def test_an_export_of_nothing_fails(state_dir: Path, tmp_path: Path) -> None:
    code, _, errors = await tria("audit", "export", "--tenant", "globex", "--state-dir", state_dir)
    assert code == 1
    assert "none yet" in errors
    code, _, errors = await tria("audit", "export", "--tenant", "acme", "--state-dir", tmp_path / "nowhere")
    assert code == 1
    assert "tria up" in errors


class Page(HTMLParser):
    """The headings, tables and cells of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


async def _eventful(trail: Trail) -> None:
    await trail.add(3, action=Action.ACCESS_DENY, decision=Decision.DENIED, details={"reason": "PERMISSION_MISSING"})
    await trail.add(2, action=Action.AUTHENTICATION_FAIL, decision=Decision.DENIED, details={"reason": "TOKEN_EXPIRED"})
    await trail.add(1, action=Action.SUBJECT_ERASE, targets=("subjects/s1",))
    await trail.add(1, action=Action.CONFIG_CHANGE, actor=Actor("ADMIN", "<script>alert(1)</script>", "JWT"))
    await trail.add(1, action=Action.INJECTION_SUSPECT, targets=("=1+1/x",))


async def test_a_report_counts_what_happened(trail: Trail, state_dir: Path, tmp_path: Path) -> None:
    await _eventful(trail)
    code, output, errors = await tria("audit", "report", "--tenant", "acme", *PERIOD, "--state-dir", state_dir)
    assert code == 0, errors
    page = Page()
    page.feed(output)
    names = [tag for tag, _ in page.tags]
    assert names.count("h1") == 1
    assert ("html", {"lang": "en"}) in page.tags
    assert "script" not in names
    assert all(attributes.get("scope") in {"col", "row"} for tag, attributes in page.tags if tag == "th")
    text = " ".join(" ".join(page.text).split())
    assert "Refused for a missing right 3" in text
    assert "Failed authentications 2" in text
    assert "Erasures done 1" in text
    assert "Suspected attacks 1" in text
    assert "<script>alert(1)</script>" in text  # as text
    assert "records are missing" not in text


async def test_a_report_as_csv_holds_the_same(trail: Trail, state_dir: Path) -> None:
    await _eventful(trail)
    arguments = ("audit", "report", "--tenant", "acme", *PERIOD, "--format", "csv", "--state-dir", state_dir)
    code, output, errors = await tria(*arguments)
    assert code == 0, errors
    rows = list(csv.DictReader(io.StringIO(output)))
    summary = [row for row in rows if row["table"] == "summary"]
    figures = {name["value"]: figure["value"] for name, figure in zip(summary[::2], summary[1::2], strict=True)}
    assert figures["Records"] == "1308"
    assert figures["Refused for a missing right"] == "3"
    denied = {row["column"]: row["value"] for row in rows if row["table"] == "denied" and row["row"] == "1"}
    assert (denied["Reason"], denied["Events"]) == ("PERMISSION_MISSING", "1")
    assert not [row for row in rows if row["value"].startswith("=")]


async def test_a_report_says_when_records_are_missing(trail: Trail, state_dir: Path) -> None:
    for partition in await trail.value(
        "select array_agg(inhrelid::regclass::text) from pg_inherits where inhparent = 'audit_event'::regclass"
    ):
        await trail.run(f"alter table {partition} disable trigger all")
        await trail.run(f"delete from {partition} where seq in (100, 200)")
    code, output, _ = await tria("audit", "report", "--tenant", "acme", *PERIOD, "--state-dir", state_dir)
    assert code == 0
    assert "<strong>2 records are missing</strong>" in output


async def test_a_report_prints(trail: Trail, state_dir: Path, tmp_path: Path) -> None:
    """By the machine's Chromium; without one it says so."""
    out = tmp_path / "report.pdf"
    arguments = ("audit", "report", "--tenant", "acme", *PERIOD, "--format", "pdf", "--state-dir", state_dir)
    code, _, errors = await tria(*arguments, "--out", out)
    assert code == 0, errors
    assert out.read_bytes().startswith(b"%PDF-")
    code, _, errors = await tria(*arguments)
    assert (code, "--out" in errors) == (2, True)
    code, _, errors = await tria(*arguments, "--out", out, environ={"PATH": ""})
    assert code == 1
    assert "Chromium" in errors


@pytest.mark.parametrize("bad", [("--from", "2026-02-01", "--to", "2026-02-01"), ("--from", "soon", "--to", "later")])
async def test_a_report_knows_wrong_use(bad: tuple[str, ...]) -> None:
    code, _, _ = await tria("audit", "report", "--tenant", "acme", *bad)
    assert code == 2
