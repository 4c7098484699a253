"""The option by which commands beside the server are told where the system of a `tria up` is."""

from __future__ import annotations

from pathlib import Path

import click

STATE_DIR = click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="State directory of `tria up`; by default the environment is looked at, then the usual place.",
)
"""Its value goes to `server.state_dir.environment`."""
