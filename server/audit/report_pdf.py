"""A compliance report as PDF, printed by the Chromium of this machine: the same page, so the same tables and tags."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_PATIENCE = 120.0


class NoBrowser(Exception):
    """There is nothing to print with."""


def print_pdf(page: str, out: Path) -> None:
    """Writes the page to `out`. Raises NoBrowser, or OSError when the browser fails."""
    browser = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise NoBrowser("PDF is printed by Chromium, which is not here; the HTML prints from any browser")
    with tempfile.TemporaryDirectory(prefix="tria-report-") as folder:
        source = Path(folder) / "report.html"
        source.write_text(page, encoding="utf-8")
        arguments = [
            browser,
            "--headless",
            "--disable-gpu",
            "--no-pdf-header-footer",
            f"--user-data-dir={folder}/profile",
            f"--print-to-pdf={out.resolve()}",
            # The page is ours and loads nothing; as root Chromium has no sandbox to give.
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            source.as_uri(),
        ]
        try:
            done = subprocess.run(arguments, capture_output=True, timeout=_PATIENCE, check=False)
        except subprocess.TimeoutExpired as late:
            raise OSError(f"{browser} did not finish within {_PATIENCE:.0f} s") from late
    if done.returncode or not out.is_file():
        raise OSError(f"{browser} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-300:]}")
