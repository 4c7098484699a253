"""How well intents are told, per split and language; the same as `tria intents evaluate`.

python -m tests.performance.evaluate_intents
"""

from __future__ import annotations

from server.chat.commands import intents

if __name__ == "__main__":
    intents(["evaluate"])
