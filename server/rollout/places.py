"""Where the split is written: a file beside a gateway, or the ConfigMap that every gateway of a cluster mounts."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from server.rollout import split
from server.rollout.moving import SplitFailed

CONFIG_MAP = "tria-split"


class FilePlace:
    """The file that a gateway on this machine watches."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def set(self, green: int) -> None:
        try:
            await asyncio.to_thread(split.write, self._path, green)
        except OSError as error:
            raise SplitFailed(f"{self._path}: {error}") from error


class ClusterPlace:
    """The ConfigMap in `namespace`, by `kubectl` and its own configuration. Kubelets take up to a minute or two to show
    it to the gateways: give each step more time than that."""

    def __init__(self, namespace: str, *, kubectl: str = "kubectl") -> None:
        self._namespace = namespace
        self._kubectl = kubectl

    async def set(self, green: int) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                self._kubectl, "patch", "configmap", CONFIG_MAP,
                "--namespace", self._namespace, "--type", "merge", "--patch", patch(green),
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            raise SplitFailed(f"{self._kubectl}: {error}") from error
        _, complaint = await process.communicate()
        if process.returncode != 0:
            raise SplitFailed(f"{self._kubectl}: {complaint.decode(errors='replace').strip()}")


def patch(green: int) -> str:
    """The change of the ConfigMap, a JSON merge patch."""
    return json.dumps({"data": {"split.yaml": split.text(green)}})
