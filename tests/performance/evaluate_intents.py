"""How well intents are found, per language, on the half of the labelled messages that no rule was tuned on.

python -m tests.performance.evaluate_intents
"""

from __future__ import annotations

from rich.console import Console

from server.chat.evaluation import Split, evaluate, show

if __name__ == "__main__":
    show(evaluate(Split.TEST), Console())
