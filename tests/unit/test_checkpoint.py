"""Checkpoints are C2SP signed notes: bytes that others would write, and nothing accepted that they would refuse."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.audit.checkpoint import (
    Checkpoint,
    NoteInvalid,
    countersign,
    open_note,
    origin_of,
    parse_text,
    sign,
)
from server.signing import PublicKey, SigningKey

KEY = SigningKey("tria-test", bytes(range(32)))
NEW = SigningKey("tria-next", bytes(range(1, 33)))
HEAD = Checkpoint(
    origin_of("acme"), 8, bytes.fromhex("5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328")
)
NOTE = (
    "tria/acme\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n\n— tria-test "
    "VMXn44b4IM6lNnUwuma9RVqKDJHnUYstKXm7CL/vJEnUgysZFIIVg+pm8oBN0lquf1nMj+ZlaFFrUb8+5EwNx+O9jwU=\n"
)
# The key of Go's checksum database, which clients all over the world have built in.
GO_SUMDB = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"


def test_the_bytes_of_a_note() -> None:
    assert sign(HEAD, KEY) == NOTE
    assert open_note(NOTE, [KEY.public]).checkpoint == HEAD


def test_keys_as_others_write_them() -> None:
    assert str(PublicKey.parse(GO_SUMDB)) == GO_SUMDB
    assert str(KEY.public) == "tria-test+54c5e7e3+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
    assert PublicKey.parse(str(KEY.public)) == KEY.public
    assert "0001" not in repr(KEY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tria-test",
        str(KEY.public).replace("54c5", "54c6"),
        str(KEY.public)[:-4],
        str(KEY.public).replace("+AQOh", "+AgOh"),
        str(KEY.public).replace("tria-test", "tria test"),
    ],
)
def test_a_damaged_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be|is damaged"):
        PublicKey.parse(text)


@given(
    tenant=st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True),
    size=st.integers(0, 2**62),
    root=st.binary(min_size=32, max_size=32),
    extensions=st.lists(st.from_regex(r"[ -~]{1,40}", fullmatch=True), max_size=3),
)
def test_what_is_signed_is_what_is_read(tenant: str, size: int, root: bytes, extensions: list[str]) -> None:
    head = Checkpoint(origin_of(tenant), size, root, tuple(extensions))
    opened = open_note(sign(head, KEY), [NEW.public, KEY.public])
    assert (opened.checkpoint, opened.signers) == (head, (KEY.public,))


@given(at=st.integers(0, len(NOTE.encode()) - 1), bit=st.integers(0, 7))
def test_no_bit_of_a_note_can_be_changed(at: int, bit: int) -> None:
    changed = bytearray(NOTE.encode())
    changed[at] ^= 1 << bit
    try:
        opened = open_note(changed.decode(errors="replace"), [KEY.public])
    except NoteInvalid:
        return
    assert opened.checkpoint == HEAD  # only an unused bit at the end of base64 may differ


def test_a_new_key_countersigns_what_the_old_one_signed() -> None:
    both = countersign(NOTE, NEW, [KEY.public])
    assert both.startswith(NOTE)
    assert open_note(both, [KEY.public, NEW.public]).signers == (KEY.public, NEW.public)
    assert open_note(both, [NEW.public]).checkpoint == HEAD
    with pytest.raises(NoteInvalid):
        countersign(NOTE, NEW, [NEW.public])


def test_an_unknown_key_alone_is_not_enough() -> None:
    with pytest.raises(NoteInvalid, match="no known key"):
        open_note(NOTE, [NEW.public])
    with pytest.raises(NoteInvalid, match="no known key"):
        open_note(NOTE, [PublicKey("another", KEY.public.key)])


@pytest.mark.parametrize(
    "note",
    [
        "",
        NOTE.removesuffix("\n"),
        NOTE.replace("\n\n", "\n"),
        NOTE.replace("—", "-"),
        NOTE + "more\n",
        NOTE.replace("\n8\n", "\n08\n"),
        NOTE.split("\n\n", maxsplit=1)[0] + "\n\n",
        NOTE.split("\n\n", maxsplit=1)[0] + "\n\n" + NOTE.split("\n\n")[1] * 17,
    ],
)
def test_what_is_not_a_note(note: str) -> None:
    with pytest.raises(NoteInvalid):
        open_note(note, [KEY.public])


@pytest.mark.parametrize(
    "text",
    [
        "tria/acme\n8\n",
        "tria/acme\n-1\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "tria/acme\n01\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "tria/acme\n1\n" + base64.b64encode(bytes(31)).decode() + "\n",
        "tria/acme\n1\n" + base64.b64encode(bytes(32)).decode() + "\n\nextension\n",
        "\n1\n" + base64.b64encode(bytes(32)).decode() + "\n",
    ],
)
def test_what_is_signed_but_no_checkpoint(text: str) -> None:
    with pytest.raises(NoteInvalid, match="not a checkpoint"):
        parse_text(text)
