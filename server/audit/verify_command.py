"""`tria audit verify`: an export is checked on any machine, without server, database or configuration."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import click

from server.audit.checkpoint import Checkpoint, NoteInvalid, open_note, parse_text
from server.audit.kept_checkpoint import Incomparable, Link, compare, read_link
from server.audit.proofs import NotProven
from server.audit.verdict import not_proven, proven, summary
from server.audit.verifying import ExportVerifier, Proven, Rejected
from server.signing import PublicKey

_LONGEST_LINE = 16 * 1024 * 1024
_STEP = 1024 * 1024  # bytes between two looks at the progress


@click.command()
@click.argument("file", metavar="EXPORT.ndjson", type=click.File("rb"))
@click.option("--key", "key_texts", multiple=True, metavar="PUB", help="A key to trust: NAME+HASH+KEY, or its file.")
@click.option(
    "--checkpoint",
    "note_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A checkpoint that was kept elsewhere (its note, or JSON that holds it): the log must still hold it.",
)
@click.option(
    "--proof",
    "proof_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Answer of GetConsistencyProof (JSON) between that checkpoint and the export's, where the export alone does "
    "not reach it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the verdict as one JSON object.")
def verify(
    file: BinaryIO, key_texts: Sequence[str], note_file: Path | None, proof_file: Path | None, as_json: bool
) -> None:
    """Check an NDJSON export: every record, in its place, under a signed checkpoint. Exit status 1 when it is not
    proven; then the first bad record is named. Says what is proven and what is not."""
    keys = [_key(text) for text in key_texts]
    older = _note(note_file, keys) if note_file else None
    link = _link(proof_file) if proof_file else None
    began = time.perf_counter()
    try:
        found = _read(file, ExportVerifier(keys=keys, older=older))
        extends = compare(found, older, link) if older else False
    except Rejected as error:
        _refuse(as_json, error.why, error.line, error.seq)
    except (NotProven, Incomparable) as error:
        _refuse(as_json, f"the checkpoint that was kept: {error}", None, None)
    _tell(found, trusted=bool(keys), extends=extends, seconds=time.perf_counter() - began, as_json=as_json)


def _read(file: BinaryIO, verifier: ExportVerifier) -> Proven:
    size = Path(file.name).stat().st_size if Path(file.name).is_file() else None
    hidden = size is None or not sys.stderr.isatty()
    with click.progressbar(length=size or 0, label="verifying", file=sys.stderr, hidden=hidden) as progress:
        seen = 0
        while line := file.readline(_LONGEST_LINE):
            verifier.feed(line)
            seen += len(line)
            if seen >= _STEP:
                progress.update(seen)
                seen = 0
        progress.update(seen)
    return verifier.finish()


def _key(text: str) -> PublicKey:
    try:
        if "+" not in text and Path(text).is_file():
            text = Path(text).read_text()
        return PublicKey.parse(text)
    except (ValueError, OSError) as error:
        raise click.BadParameter(str(error), param_hint="--key") from error


def _note(path: Path, keys: Sequence[PublicKey]) -> Checkpoint:
    """A note, or a JSON object that has it as `note`: an answer of GetCheckpoint, a line of the checkpoint file. With
    keys its signature is wanted; without, whoever kept it vouches for it."""
    try:
        note = path.read_text(encoding="utf-8")
        if note.startswith("{"):
            note = str(json.loads(note)["note"])
        return open_note(note, keys).checkpoint if keys else parse_text(note.partition("\n\n")[0] + "\n")
    except (NoteInvalid, OSError, KeyError, ValueError) as error:
        raise click.BadParameter(f"{path}: {error}", param_hint="--checkpoint") from error


def _link(path: Path) -> Link:
    try:
        return read_link(path.read_bytes())
    except (ValueError, OSError) as error:
        raise click.BadParameter(f"{path}: {error}", param_hint="--proof") from error


def _refuse(as_json: bool, why: str, line: int | None, seq: int | None) -> None:
    if as_json:
        click.echo(json.dumps({"valid": False, "error": why, "line": line, "seq": seq}, ensure_ascii=False))
    else:
        where = "" if line is None else f" (line {line})"
        click.echo(f"NOT PROVEN{where}: {why}", err=True)
    raise SystemExit(1)


def _tell(found: Proven, *, trusted: bool, extends: bool, seconds: float, as_json: bool) -> None:
    yes, no = proven(found, trusted=trusted, extends=extends), not_proven(found, trusted=trusted, extends=extends)
    if as_json:
        verdict = {"valid": True, **summary(found), "key_trusted": trusted, "extends_checkpoint": extends}
        click.echo(json.dumps(verdict | {"seconds": round(seconds, 3), "proven": yes, "not_proven": no}))
        return
    header = found.header
    click.echo(f"PROVEN: records {found.first_seq} to {header.last_seq} of {header.origin}, read in {seconds:.1f} s")
    for title, sentences in (("Proven:", yes), ("Not proven by this:", no)):
        click.echo(title)
        for sentence in sentences:
            click.echo(f"  - {sentence}")
