"""The deployment's configuration of Prometheus and Alertmanager, with this machine's addresses in it.

Loaded as YAML and changed as data, as `envoy.py` does: no template language, no second configuration. For a game day
the rules are hurried: the same rules with every window and wait divided, so that hours pass in minutes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from server.embedded.loopback import HOST

Config = dict[str, Any]

_WINDOW = re.compile(r"\[(\d+[smhd])\]")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_FEWEST_SCRAPES = 4  # in a window: a rate needs two, and one may be late


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast time passes: `factor` 1 is as deployed; `scrape` is the seconds between two looks."""

    factor: int = 1
    scrape: int = 15

    def wait(self, text: str) -> str:
        """A duration, divided; at least a second."""
        return text if self.factor == 1 else f"{max(1, seconds(text) // self.factor)}s"

    def window(self, text: str) -> str:
        """The range of a rate, divided; never shorter than a few scrapes."""
        shortest = _FEWEST_SCRAPES * self.scrape
        return text if self.factor == 1 else f"{max(shortest, seconds(text) // self.factor)}s"


def seconds(duration: str) -> int:
    """Of a Prometheus duration with one unit."""
    return int(duration[:-1]) * _UNITS[duration[-1]]


def hurried(rules: Config, pace: Pace) -> Config:
    """A rule file (changed in place and returned) in which every window and every `for` is divided."""
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule["expr"] = _WINDOW.sub(lambda found: f"[{pace.window(found[1])}]", rule["expr"])
            if "for" in rule:
                rule["for"] = pace.wait(rule["for"])
    return rules


def prometheus_config(
    path: Path, targets: Mapping[str, str], probes: Mapping[str, str], rules: Path, pace: Pace
) -> Config:
    """`targets` are host:port by job, with those of alertmanager, blackbox and Prometheus itself; `probes` are the URLs
    that the blackbox exporter asks, by job."""
    config: Config = yaml.safe_load(path.read_text())
    config["rule_files"] = [f"{rules}/*.yml"]
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [targets["alertmanager"]]
    config["global"] |= {"scrape_interval": f"{pace.scrape}s", "evaluation_interval": f"{pace.scrape}s"}
    config["global"]["scrape_timeout"] = f"{min(10, pace.scrape)}s"
    for job in config["scrape_configs"]:
        name = job["job_name"]
        job.pop("dns_sd_configs", None)  # here is one version
        job["static_configs"][0]["targets"] = [probes[name] if name in probes else targets[name]]
        for step in job.get("relabel_configs", ()):
            if step.get("target_label") == "__address__":
                step["replacement"] = targets["blackbox"]
    return config


def alertmanager_config(path: Path, inbox: int, pace: Pace) -> Config:
    """Routes and inhibition as deployed; every receiver is a path of the inbox on this machine instead of a service."""
    config: Config = yaml.safe_load(path.read_text())
    config["global"] = {"resolve_timeout": pace.wait(config["global"]["resolve_timeout"])}
    for route in (config["route"], *config["route"]["routes"]):
        for name in ("group_wait", "group_interval", "repeat_interval"):
            if name in route and route[name] != "0s":
                route[name] = pace.wait(route[name])
    config["receivers"] = [
        {
            "name": receiver["name"],
            "webhook_configs": [{"url": f"http://{HOST}:{inbox}/{receiver['name']}", "send_resolved": True}],
        }
        for receiver in config["receivers"]
    ]
    return config
