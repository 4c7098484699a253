"""What a verified export proves and what it does not, in sentences for whoever relies on it."""

from __future__ import annotations

from server.audit.export_lines import text_of
from server.audit.verifying import Proven

_TRUSTED = ", which you trust"
_TRUTH = (
    "That the events are true: a server in wrong hands can record and sign what never happened, or leave out what did, "
    "before it is signed. Times are the server's."
)


def proven(found: Proven, *, trusted: bool, extends: bool) -> list[str]:
    """What holds."""
    header = found.header
    signers = " and ".join(f"{key.name}+{key.id}" for key in found.signers)
    which = f"Records {found.first_seq} to {header.last_seq}"
    sentences = [
        f"{which} are as they were when the checkpoint was signed: none was changed, left out, doubled or moved.",
        f"The checkpoint over {header.tree_size} records is signed by the key {signers}{_TRUSTED if trusted else ''}.",
    ]
    if extends:
        sentences.append("It is the same log that the checkpoint you kept is of: nothing from before was rewritten.")
    return sentences


def not_proven(found: Proven, *, trusted: bool, extends: bool) -> list[str]:
    """What an honest reader must not conclude."""
    header = found.header
    sentences = []
    if not trusted:
        sentences.append(
            "That the key is the right one: the export names it itself. Compare it with one from elsewhere, or give "
            "that with --key."
        )
    if not extends:
        sentences.append(
            "That the log was not cut off or written anew before this checkpoint was signed, or that others are shown "
            "the same log: give a checkpoint that was kept elsewhere with --checkpoint."
        )
    return [*sentences, f"Anything about records after number {header.tree_size - 1}.", _TRUTH]


def summary(found: Proven) -> dict[str, object]:
    """The figures, for a program."""
    header = found.header
    return {
        "tenant": header.tenant,
        "origin": header.origin,
        "first_seq": found.first_seq,
        "last_seq": header.last_seq,
        "count": header.last_seq - found.first_seq + 1,
        "tree_size": header.tree_size,
        "root_hash": text_of(found.root),
        "keys": [str(key) for key in found.signers],
        "parts": found.parts,
    }
