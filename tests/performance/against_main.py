"""Whether a call costs more than on the branch that this one goes into: the bench of the chain in both, in turns.

    python -m tests.performance.against_main [--rounds 3] [--calls 600] [--most 1.25]

Compared is the CPU of a call behind the chain divided by that of the bare call, measured at the same time on the same
machine, so that neither a slow runner nor a noisy neighbour decides. Exit code 1 when it grew by more than `--most`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.releases import ROOT, base, take_out

_RATIO = re.compile(r"^ratio\s+[\d.]+\s+([\d.]+)$", re.MULTILINE)


def ratio(code: Path, calls: int) -> float:
    """CPU of the chain over CPU of the bare call, of the code in `code`."""
    environ = {**os.environ, "PYTHONPATH": f"{code}{os.pathsep}{code / 'proto' / 'gen'}"}
    command = [sys.executable, "-m", "tests.performance.bench_chain", "--calls", str(calls), "--rounds", "3"]
    ran = subprocess.run(command, cwd=code, env=environ, check=True, capture_output=True, text=True)
    found = _RATIO.search(ran.stdout)
    if found is None:
        raise ValueError(f"the bench says no ratio: {ran.stdout}")
    return float(found[1])


def main() -> int:
    """Prints the comparison; the exit code says what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--calls", type=int, default=600)
    parser.add_argument("--most", type=float, default=1.25)
    options = parser.parse_args()
    commit = base()
    if not commit:
        print("no earlier commit to compare with: fetch the history")
        return 1
    with tempfile.TemporaryDirectory(prefix="tria-before-") as name:
        before = take_out(commit, Path(name), tests=True)
        found: dict[str, list[float]] = {"before": [], "now": []}
        for _ in range(options.rounds):
            found["before"].append(ratio(before, options.calls))
            found["now"].append(ratio(ROOT, options.calls))
    grown = statistics.median(found["now"]) / statistics.median(found["before"])
    print(json.dumps({"commit": commit, "chain over bare, CPU": found, "grown": round(grown, 3), "most": options.most}))
    return 0 if grown <= options.most else 1


if __name__ == "__main__":
    sys.exit(main())
