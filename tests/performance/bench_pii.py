"""What looking for personal data costs: per message of 200 characters, and per character up to 100,000.

    python -m tests.performance.bench_pii [--messages 200] [--rounds 5]

The floor beside it is what the first step alone would cost without RE2's set: the triggers of all rules tried one by
one with `re` on the same messages, in the same run. `labelled` are labelled messages of all slices and languages, each
filled up with ones of its language that hold nothing personal; `desk` are such in English, each about a person, none
obfuscated; `dense` are labelled messages back to back (three or more findings in 200 characters), `prose` has no number
and no name.
"""

from __future__ import annotations

import argparse
import random
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

from server.pii.evaluation import load
from server.pii.scan import RULES, scan
from server.pii.scrub import Scrubber
from server.pii.stream import StreamRestorer

_LENGTH = 200
_SIZES = (200, 1_000, 10_000, 100_000)
_PROSE = (
    "Please send the usual cartons to the shop before ten, the driver may use the back door. We still have enough lids "
    "but the soup bowls are nearly finished, so add some of those and tell us the total first. "
)


def corpora(count: int) -> dict[str, list[str]]:
    """`count` messages of 200 characters of each sort, the same in every run."""
    rng = random.Random(1)
    everything = list(load())
    messages = [message for message in everything if message.language == "en"]
    plain = [message.text for message in messages if message.slice == "plain"]
    clean = [message.text for message in messages if message.slice == "clean"]

    def filled(first: Sequence[str], rest: Sequence[str]) -> str:
        text = rng.choice(first)
        while len(text) < _LENGTH:
            text += " " + rng.choice(rest)
        return text[:_LENGTH]

    clean_of = {
        language: [each.text for each in everything if (each.language, each.slice) == (language, "clean")]
        for language in {each.language for each in everything}
    }
    chosen = rng.sample(everything, count)
    return {
        "labelled": [filled([each.text], clean_of[each.language] or clean) for each in chosen],
        "prose": [_PROSE[:_LENGTH]] * count,
        "desk": [filled(plain, clean) for _ in range(count)],
        "dense": [filled(plain, plain) for _ in range(count)],
    }


def microseconds(work: Callable[[str], object], texts: Sequence[str], rounds: int) -> list[float]:
    """CPU time of one call for each text, the best of `rounds`."""
    best = [float("inf")] * len(texts)
    for _ in range(rounds):
        for index, text in enumerate(texts):
            started = time.process_time_ns()
            work(text)
            best[index] = min(best[index], (time.process_time_ns() - started) / 1000)
    return best


def one_by_one() -> Callable[[str], object]:
    """The triggers with `re`, one after another."""
    patterns = [re.compile(rule.trigger) for rule in RULES]
    return lambda text: [pattern.search(text) for pattern in patterns]


def quantiles(times: Sequence[float]) -> str:
    cuts = statistics.quantiles(times, n=20)
    return f"median {statistics.median(times):7.1f}  p95 {cuts[18]:7.1f} µs"


def lines(count: int, rounds: int) -> Iterator[str]:
    floor = one_by_one()
    for name, texts in corpora(count).items():
        times = microseconds(scan, texts, rounds)
        yield f"scan, 200 characters, {name:<6} {quantiles(times)}   {1e6 / statistics.mean(times):8,.0f} messages/s"
        yield f"  triggers by `re`, one by one  {quantiles(microseconds(floor, texts, rounds))}"
    for kind, piece in (("prose", _PROSE), ("numbers", "order 10293, 20 x 12 inch, call 91234567 by 10:30 ")):
        for size in _SIZES:
            text = (piece * (size // len(piece) + 1))[:size]
            [time_taken] = microseconds(scan, [text], rounds)
            yield f"scan, {size:>7,} characters of {kind:<8} {time_taken / size * 1000:8.1f} ns each"
    scrubber = Scrubber()
    hidden = scrubber.scrub("Call 91234567 or write to a@example.com about the lids. " * 20)
    parts = [hidden[at : at + 4] for at in range(0, len(hidden), 4)]

    def restored(_: str) -> None:
        restorer = StreamRestorer(scrubber.mapping)
        for part in parts:
            restorer.feed(part)
        restorer.finish()

    [whole] = microseconds(restored, [""], rounds)
    yield f"restoring a stream             {whole / len(parts):8.2f} µs per delta of 4 characters"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for line in lines(options.messages, options.rounds):
        print(line)


if __name__ == "__main__":
    main()
