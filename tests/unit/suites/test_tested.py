"""A run of tests counts when all of them ran and passed, and only by what this run wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.suites.tested import run_tests

GOOD = "def test_one(): pass\n"
BAD = "def test_two(): assert False\n"
# The text of a test, not one of ours: that a skipped one does not count is what is tested here.
SKIPPED = "import pytest\n@pytest.mark.skip(reason='no server')\ndef test_three(): pass\n"
DYING = "import os\ndef test_four(): os._exit(0)\n"


@pytest.mark.parametrize(
    ("text", "passed", "said"),
    [
        (GOOD, True, "1 ran, failed: none"),
        (GOOD + BAD, False, "2 ran, failed: test_two"),
        (GOOD + SKIPPED, False, "1 ran, failed: test_three (skipped)"),
        ("", False, "0 ran"),
        (GOOD + DYING, False, "pytest wrote no result"),
    ],
)
async def test_it_says_what_ran(tmp_path: Path, text: str, passed: bool, said: str) -> None:
    module, junit = tmp_path / "test_these.py", tmp_path / "these.xml"
    module.write_text(text)
    junit.write_text('<testsuites><testsuite><testcase name="of_another_run"/></testsuite></testsuites>')
    found = await run_tests(str(module), junit)
    assert found.passed is passed
    assert said in found.told
