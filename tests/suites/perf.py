"""How fast, how often from the cache and how cheap the desk answers, through a real `tria up` and its gateway.

    python -m tests.suites.perf [--rounds 3] [--assistant offline --assistant model]

Every kind of question in each round, by somebody new each time; first with the offline assistant, then with a model
that takes its time.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import click
from rich.progress import Progress

from tests.suites.asking import Askers, Outcome, codes
from tests.suites.model_server import model_server
from tests.suites.questions import KINDS, Question
from tests.suites.requirements import asked_of
from tests.suites.results import Result, finish, percentile
from tests.suites.running import running
from tests.suites.watching import watching

ROUNDS = 3  # fewer questions have no P95, and no second answer from the cache
ASSISTANTS = ("offline", "model")
AT_ONCE = 4  # people in the run for throughput


@dataclass(frozen=True, slots=True)
class Run:
    """Outcomes of questions one after the other, then of all of them again by `AT_ONCE` people, who took `seconds`."""

    alone: list[Outcome]
    together: list[Outcome]
    seconds: float

    @property
    def all(self) -> list[Outcome]:
        return [*self.alone, *self.together]


async def _ask_all(askers: Askers, rounds: int, step: str, told: Progress) -> Run:
    alone, task = [], told.add_task(step, total=rounds * len(KINDS) * 2)
    for round_ in range(rounds):
        for place, question in enumerate(KINDS):
            person = 1000 * round_ + place
            alone.append(await askers.ask(person, question, time.monotonic()))
            told.advance(task)
    together: list[Outcome] = []
    waiting = [(number, question) for number, question in enumerate(KINDS * rounds)]

    async def keep_asking() -> None:
        while waiting:
            number, question = waiting.pop()
            together.append(await askers.ask(5000 + number, question, time.monotonic()))
            told.advance(task)

    began = time.monotonic()
    await asyncio.gather(*(keep_asking() for _ in range(AT_ONCE)))
    return Run(alone, together, time.monotonic() - began)


def _by_kind(outcomes: Sequence[Outcome]) -> dict[str, float]:
    return {
        question.kind: round(statistics.mean(each.took for each in outcomes if each.kind == question.kind), 4)
        for question in KINDS
    }


def _hit_rates(outcomes: Sequence[Outcome]) -> tuple[float, float]:
    """Share of hits among questions whose answer may be kept, and among all."""
    shared = {question.kind for question in KINDS if question.shared}
    kept = [each.hit for each in outcomes if each.kind in shared]
    return sum(kept) / len(kept), sum(each.hit for each in outcomes) / len(outcomes)


def _judge(result: Result, name: str, run: Run) -> None:
    """Figures and bars of one assistant."""
    outcomes = run.alone
    took = [each.took for each in outcomes]
    first = [each.first for each in outcomes if each.first is not None]
    kept, overall = _hit_rates(outcomes)
    cost = sum(each.cost_micros for each in outcomes) / 1e6 / len(outcomes)
    misses = [each for each in outcomes if each.cost_micros]
    dearest = max((each.cost_micros for each in outcomes), default=0) / 1e6
    result.figures[name] = {
        "questions": len(outcomes),
        "kinds": len(KINDS),
        "mean_s": round(statistics.mean(took), 4),
        **{f"p{round(share * 100)}_s": round(percentile(took, share), 4) for share in (0.5, 0.95, 0.99)},
        "first_words_p50_s": round(percentile(first, 0.5), 4),
        "first_words_p95_s": round(percentile(first, 0.95), 4),
        "hit_rate_of_what_may_be_kept": round(kept, 4),
        "hit_rate_of_all": round(overall, 4),
        "cost_per_question_usd": round(cost, 6),
        "dearest_question_usd": round(dearest, 6),
        "questions_that_cost": len(misses),
        "answers_per_second_at_4": round(len(run.together) / run.seconds, 2),
        "ended": codes(run.all),
        "answers": {kind: next(each.answer for each in outcomes if each.kind == kind) for kind in _by_kind(outcomes)},
    }
    good = sum(each.good for each in run.all) / len(run.all)
    answered = {each.kind for each in outcomes if each.good}
    result.least(f"{name}: kinds of question answered", len(answered), 20, "R6")
    result.least(f"{name}: answered whole, no number missing", 100 * good, 100, "R6", "R5", unit=" %")
    result.most(f"{name}: mean answer", statistics.mean(took), 3, "R6", unit=" s", strict=True)
    result.most(f"{name}: P95 answer", percentile(took, 0.95), 5, "R6", "R17", unit=" s", strict=True)
    result.least(f"{name}: cache hits of what may be kept", 100 * kept, 50, "R6", "R4", unit=" %", strict=True)
    if name == "model":  # the offline assistant costs nothing, which shows nothing
        result.least(f"{name}: questions that cost something", len(misses), 1, "R6", "R17")
        result.most(f"{name}: cost of a question", cost, 0.05, "R6", "R17", unit=" USD", strict=True)
    _compare_hits(result, name, outcomes)


def _compare_hits(result: Result, name: str, outcomes: list[Outcome]) -> None:
    """A kept answer against the first one to the same question."""
    hits, kept = [each.took for each in outcomes if each.hit], {each.kind for each in outcomes if each.hit}
    fresh = [each.took for each in outcomes if not each.hit and each.kind in kept]
    ratio = statistics.median(fresh) / statistics.median(hits) if hits and fresh else 0.0
    result.figures[name]["miss_over_hit"] = round(ratio, 2)
    if name == "model":
        result.least(f"{name}: a hit is faster than a miss by", ratio, 5, "R4", unit=" times")


def left_out(result: Result, rounds: int, assistants: Sequence[str]) -> None:
    """What a run with these options cannot show."""
    for name in sorted(set(ASSISTANTS) - set(assistants)):
        result.not_shown(f"the assistant {name}: left out by --assistant", *asked_of("perf"))
    if rounds < ROUNDS:
        result.not_shown(f"{ROUNDS} rounds of questions: this run asked {rounds}", *asked_of("perf"))


async def measure(result: Result, told: Progress, rounds: int, assistants: Sequence[str]) -> None:
    left_out(result, rounds, assistants)
    for name in assistants:
        async with AsyncExitStack() as stack:
            variables = await stack.enter_async_context(model_server()) if name == "model" else {}
            up = await stack.enter_async_context(running(told, name, variables))
            watch = await stack.enter_async_context(watching(up.pids, up.ready["metrics"]))
            askers = await stack.enter_async_context(Askers.of(up.ready))
            # Connections, code and word lists are there before the clock runs; this question is none of the kinds.
            await askers.ask(9999, Question("warm-up", "Do you deliver to Tekong island?"), time.monotonic())
            before = await watch.look()
            run = await _ask_all(askers, rounds, f"{name}: {rounds} rounds", told)
            after = await watch.look()
            _judge(result, name, run)
        result.figures[name]["memory_before_mib"] = round(before.ours, 1)
        result.figures[name]["memory_after_mib"] = round(after.ours, 1)
        result.plot(f"Mean seconds by kind, {name}", "bars", ("seconds", ""), seconds=_by_kind(run.alone))
        result.plot(
            f"Answers by rank, {name}", "spread", ("% of questions", "seconds"),
            whole=[round(each.took, 4) for each in run.alone],
            first_words=[round(each.first or 0.0, 4) for each in run.alone],
        )  # fmt: skip


@click.command(help=__doc__)
@click.option("--rounds", default=ROUNDS, show_default=True)
@click.option("--assistant", "assistants", multiple=True, type=click.Choice(ASSISTANTS), default=ASSISTANTS,
              show_default=True)  # fmt: skip
def main(rounds: int, assistants: tuple[str, ...]) -> None:
    """Measures, stores, shows."""
    finish("perf", lambda result, told: measure(result, told, rounds, assistants), asyncio.run)


if __name__ == "__main__":
    main()
