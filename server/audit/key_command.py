"""`tria audit key`: what a verifier has to trust."""

from __future__ import annotations

import os
from pathlib import Path

import click

from server.audit.operating import log_of
from server.state_option import STATE_DIR


@click.command()
@STATE_DIR
def key(state_dir: Path | None) -> None:
    """Print the public keys that sign the trail, the current one first: for `tria audit verify --key`, on paper or over
    another channel than the export itself."""
    for public in log_of(os.environ, state_dir).keys:
        click.echo(str(public))
