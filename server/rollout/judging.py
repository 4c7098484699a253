"""Whether a version may have more calls: a rule on figures, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from server.rollout.figures import Figures


class Verdict(StrEnum):
    """`UNKNOWN`: too few calls to say."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Limits:
    """The promises that a version must keep: failed calls (0 to 1), P95 in seconds, the latter only where it is also
    `slower` times the other version's, since a slow model or a long stream makes both slow."""

    failed: float = 0.01
    p95: float = 5.0
    slower: float = 1.5
    least_calls: int = 20


def judge(candidate: Figures, stable: Figures, limits: Limits) -> tuple[Verdict, str]:
    """The verdict and its reason. One failed call is forgiven: of few calls it says nothing."""
    if candidate.healthy == 0:
        return Verdict.BAD, "no server of it is healthy"
    if candidate.failures > max(1.0, limits.failed * candidate.calls):
        return Verdict.BAD, f"{candidate.failures} of {candidate.calls} calls failed"
    if candidate.calls < limits.least_calls:
        return Verdict.UNKNOWN, f"only {candidate.calls} calls"
    if candidate.p95 is not None and candidate.p95 > limits.p95:
        usual = stable.p95
        if usual is None or candidate.p95 > limits.slower * usual:
            return Verdict.BAD, f"P95 is {candidate.p95:.1f} s"
    return Verdict.GOOD, f"{candidate.failures} of {candidate.calls} calls failed"
