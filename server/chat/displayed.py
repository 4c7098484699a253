"""Text without what a screen does not show or a terminal would obey."""

from __future__ import annotations

import re

# Terminal sequences (CSI, OSC and two-character ones), bounded.
_ANSI = re.compile(r"\x1b(?:\[[0-?]{0,32}[ -/]{0,4}[@-~]|\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)|[@-Z\\^_])")
# C0 and C1 controls but tab and line feed, soft hyphen, zero-width and bidirectional marks, line separators,
# interlinear and tag characters, lone surrogates, the byte order mark.
_UNSHOWN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
# What a terminal sequence may be the beginning of.
_ANSI_BEGUN = re.compile(r"\x1b(?:\[[0-?]{0,32}[ -/]{0,4}|\][^\x07\x1b]{0,256}\x1b?)?\Z")


def displayed(text: str) -> str:
    """The text as it may be shown."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSHOWN.sub("", _ANSI.sub("", text))


def begun_sequence(text: str) -> int:
    """Where an unfinished terminal sequence begins at the end of a text; the text's length when there is none."""
    found = _ANSI_BEGUN.search(text)
    return found.start() if found else len(text)
