"""The build stage of deploy/Dockerfile without Docker: its COPY and RUN lines in a folder, and what came of them tried.

What it cannot show is what the images that it stands on are like. Run by `make rehearse-image`; needs the registries.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def stage() -> list[tuple[str, str]]:
    """Word and rest of each instruction of the stage `build`."""
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    begin = text.index(" AS build\n") + len(" AS build\n")
    lines = text[begin : text.index("\nFROM ", begin)].replace("\\\n", " ").splitlines()
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines) if word.isupper()]


def build(folder: Path) -> None:
    """Runs the stage with `folder` for the root of the file system."""
    source = folder / "src"
    source.mkdir()
    environ = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "UV_CACHE_DIR"}}
    environ |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_"))}

    def inside(text: str) -> str:
        return text.replace("/opt/", f"{folder}/opt/")

    for word, rest in stage():
        if word == "ENV":
            environ |= dict(part.split("=", 1) for part in inside(rest).split())
        elif word == "COPY":
            *names, target = inside(rest).split()
            for name in names:
                copy(ROOT / name, source / target, into=target.endswith("/"))
        elif word == "RUN":
            began = time.monotonic()
            subprocess.run(["sh", "-ec", inside(rest)], cwd=source, env=environ, check=True)  # noqa: S607
            print(f"{time.monotonic() - began:6.1f} s  {rest[:90]}")


def copy(origin: Path, target: Path, *, into: bool) -> None:
    target = target / origin.name if into else target
    target.parent.mkdir(parents=True, exist_ok=True)
    if origin.is_dir():
        shutil.copytree(origin, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(origin, target)


def look(folder: Path) -> None:
    """What the server image would do first. Raises AssertionError."""
    program = folder / "opt/tria/bin/tria"

    def run(*arguments: str, code: int = 0) -> str:
        ran = subprocess.run([program, *arguments], cwd="/", env={"PATH": "/nowhere"}, capture_output=True, text=True)  # noqa: PLW1510
        assert ran.returncode == code, (arguments, ran.stdout, ran.stderr)
        return ran.stdout + ran.stderr

    print("      ", run("--version").strip())
    assert "TRIA_ENVIRONMENT" in run("serve", code=2), "the server starts as far as to miss its configuration"
    assert "TRIA_ENVIRONMENT" in run("worker", code=2)
    made = json.loads(run("deploy", "gateway", "--issuer", "https://id", "--audience", "a"))
    assert made["static_resources"], yaml.safe_dump(made)[:200]
    assert "does not answer" in run("probe", "--target", "127.0.0.1:9", code=1)
    installed = {path.name for path in (folder / "opt/tria/bin").iterdir()}
    unwanted = installed & {"pip", "uv", "pytest", "mypy", "ruff", "gcc", "envoy"}
    assert not unwanted, unwanted
    listed = json.loads((folder / "opt/tria/sbom.cdx.json").read_text())
    assert {"tria", "grpcio", "asyncpg"} <= {part["name"] for part in listed["components"]}
    size = sum(path.stat().st_size for path in (folder / "opt/tria").rglob("*") if path.is_file())
    print(f"       {len(listed['components'])} components listed, {size / 1e6:.0f} MB")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="tria-image-") as name:
        build(Path(name))
        look(Path(name))
    print("the build stage works; no image was made")


if __name__ == "__main__":
    main()
