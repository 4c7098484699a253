"""The configuration itself: the deployment's file is valid as it stands, and says what the contract and README say."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from server.embedded.child import StartFailed
from server.embedded.envoy import config_file, load, render, validate, write_secret
from server.embedded.installed import installed_file
from server.embedded.issuer import Issuer
from server.rollout.gateway import GatewaySettings, deployed
from tests.support.edge import edge_settings
from tria.policy.v1 import policy_pb2


def services() -> dict[str, descriptor_pb2.ServiceDescriptorProto]:
    """The services of the descriptor set by full name, without those of imported packages."""
    files = descriptor_pb2.FileDescriptorSet.FromString(installed_file("proto/gen/tria.binpb").read_bytes())
    return {
        f"{file.package}.{service.name}": service
        for file in files.file
        for service in file.service
        if file.package.startswith("tria.")
    }


@functools.cache
def routes() -> list[dict[str, Any]]:
    listener = load(config_file())["static_resources"]["listeners"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    found: list[dict[str, Any]] = manager["route_config"]["virtual_hosts"][0]["routes"]
    return found


def route_of(path: str) -> dict[str, Any]:
    """The first route that matches `path`, as Envoy would choose it."""
    for route in routes():
        match = route["match"]
        regex = match.get("safe_regex", {}).get("regex")
        if path == match.get("path") or (regex and re.fullmatch(regex, path)):
            return route
        if "prefix" in match and path.startswith(match["prefix"]):
            return route
    raise AssertionError(path)


def lay_files(place: Path, issuer: Issuer) -> None:
    """What a deployment has below /etc/tria, in `place`."""
    settings = edge_settings(place, issuer, 1)  # `split` is there already
    files = {
        "jwks/jwks.json": settings.jwks,
        "tls/tls.crt": settings.certificate,
        "tls/tls.key": settings.certificate_key,
    }
    for name, source in {**files, "tria.binpb": settings.descriptor}.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(source.read_bytes())
    secret = (config_file().parent / "certificate.yaml").read_text()
    (place / "certificate.yaml").write_text(secret.replace("/etc/tria/", f"{place}/"))


async def test_deployment_file_is_valid(issuer: Issuer, tmp_path: Path) -> None:
    """As it stands, but for the directory of its files: /etc/tria does not exist on a build machine."""
    lay_files(tmp_path, issuer)
    config = tmp_path / "envoy.yaml"
    config.write_text(config_file().read_text().replace("/etc/tria/", f"{tmp_path}/"))
    await validate(config)


async def test_file_of_an_environment_is_valid_and_its_own(issuer: Issuer, tmp_path: Path) -> None:
    """What `tria deploy gateway` makes of it; the files that it names lie elsewhere here."""
    lay_files(tmp_path, issuer)
    own = GatewaySettings("https://id.sg", "tria-sg", ("https://desk.sg",), "server-blue:1", "server-green:2", 1)
    made = json.dumps(deployed(load(config_file()), own))
    config = tmp_path / "tria.json"
    config.write_text(made.replace("/etc/tria/", f"{tmp_path}/"))
    await validate(config)
    for wanted in ("https://id.sg", '["tria-sg"]', "https://desk.sg", "server-blue", "server-green", "xff_num_trusted"):
        assert wanted in made
    assert "example.com" not in made


async def test_rendered_file_is_valid_and_stays_on_loopback(issuer: Issuer, tmp_path: Path) -> None:
    settings = edge_settings(tmp_path, issuer, 50051)
    rendered = render(load(config_file()), settings)
    write_secret(settings)
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps(rendered))
    await validate(config)
    text = config.read_text()
    assert "0.0.0.0" not in text  # noqa: S104 - that is the point
    assert "/etc/tria" not in text


async def test_validate_says_what_is_wrong(issuer: Issuer, tmp_path: Path) -> None:
    settings = replace(edge_settings(tmp_path, issuer, 50051), descriptor=tmp_path / "missing.binpb")
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps(render(load(config_file()), settings)))
    with pytest.raises(StartFailed, match=r"missing\.binpb"):
        await validate(config)


def test_every_service_is_transcoded() -> None:
    text = config_file().read_text()
    assert all(f"- {name}\n" in text for name in services())


def test_every_stream_is_on_the_streams_route_and_nothing_else_is() -> None:
    for name, service in services().items():
        for method in service.method:
            route = route_of(f"/{name}/{method.name}")
            assert (route["name"] in {"streams", "ticketed"}) == method.server_streaming, method.name


def test_every_client_stream_may_be_large() -> None:
    for name, service in services().items():
        for method in service.method:
            if method.client_streaming:
                limits = route_of(f"/{name}/{method.name}")["typed_per_filter_config"]
                assert limits["tria.call_size_limit"]["disabled"], method.name


def test_what_is_public_at_the_edge_is_public_in_the_server() -> None:
    for name, service in services().items():
        for method in service.method:
            per_filter = route_of(f"/{name}/{method.name}").get("typed_per_filter_config", {})
            public = method.options.Extensions[policy_pb2.rpc].permission == policy_pb2.PUBLIC
            assert ("envoy.filters.http.jwt_authn" in per_filter) == public, method.name


def test_every_call_waits_as_long_as_its_answer_may_take() -> None:
    """A route without an idle timeout has the listener's, which once cut slow answers at 60 s of 130 s."""
    for route in routes():
        action = route.get("route")
        if action and action["timeout"] != "0s":
            assert int(action["idle_timeout"][:-1]) >= int(action["timeout"][:-1]), route["name"]


def test_readme_has_every_route_in_order() -> None:
    readme = (config_file().parent / "README.md").read_text()
    documented = re.findall(r"^\| `([a-z_]+)` \|", readme, re.MULTILINE)
    assert documented == [route["name"] for route in routes()]
