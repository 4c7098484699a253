"""As much of a cluster's API as `kubectl logs`, `get` and a selector need, for a real kubectl to ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

from server.embedded.loopback import HOST, free_ports
from tests.contract.test_manifests import Manifest, matches, pods

NAMESPACE = "tria"


@dataclass
class Cluster:
    """The pods of an environment as deploy/k8s renders it, one of each; `kubeconfig` leads here."""

    kubeconfig: Path
    found: dict[str, Manifest] = field(default_factory=dict)
    logs: list[str] = field(default_factory=list)  # pod, container and number of lines of what was asked for

    async def groups(self, request: web.Request) -> web.Response:
        if request.path == "/apis":
            return web.json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})
        return web.json_response({"kind": "APIVersions", "versions": ["v1"]})

    async def kinds(self, _: web.Request) -> web.Response:
        pod = {"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": ["get", "list"]}
        listed = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "v1", "resources": [pod]}
        return web.json_response(listed)

    async def list_pods(self, request: web.Request) -> web.Response:
        wanted = dict(part.split("=") for part in request.query.get("labelSelector", "").split(",") if part)
        items = [pod for pod in self.found.values() if matches(wanted, pod["metadata"]["labels"])]
        return web.json_response({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})

    async def log(self, request: web.Request) -> web.Response:
        self.logs.append("{pod} {container} {tailLines}".format(**request.match_info, **request.query))
        return web.Response(text="a line of {pod}\n".format(**request.match_info))


@asynccontextmanager
async def cluster(folder: Path, environment: str) -> AsyncIterator[Cluster]:
    """Listening on loopback."""
    (port,) = free_ports(1)
    made = Cluster(folder / "kubeconfig")
    for name, pod in pods(environment):
        about: dict[str, Any] = {"name": f"{name}-6f5", "namespace": NAMESPACE, "labels": pod["metadata"]["labels"]}
        running = {"kind": "Pod", "apiVersion": "v1", "metadata": about, "spec": pod["spec"]}
        made.found[f"{name}-6f5"] = running | {"status": {"phase": "Running"}}
    named = {"name": "here", "cluster": {"server": f"http://{HOST}:{port}"}}
    context = {"name": "here", "context": {"cluster": "here", "user": ""}}
    config = {"kind": "Config", "apiVersion": "v1", "clusters": [named], "contexts": [context], "users": []}
    made.kubeconfig.write_text(yaml.safe_dump(config | {"current-context": "here"}))
    application = web.Application()
    of_pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    application.add_routes(
        [
            web.get("/api", made.groups),
            web.get("/apis", made.groups),
            web.get("/api/v1", made.kinds),
            web.get(of_pods, made.list_pods),
            web.get(of_pods + "/{pod}/log", made.log),
        ]
    )
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        yield made
    finally:
        await runner.cleanup()
