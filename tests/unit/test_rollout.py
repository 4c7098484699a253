"""Figures of two versions, the verdict on them, and the file that divides the calls; without a gateway."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from server.rollout import split
from server.rollout.commands import deploy
from server.rollout.figures import QUERY, Figures, FiguresUnreadable, Gateway, Prometheus, Totals, Version
from server.rollout.judging import Limits, Verdict, judge

LIMITS = Limits()
PAGE = """
# TYPE envoy_cluster_upstream_rq_xx counter
envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="green"} %(good)s
envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="unproven_green"} 10
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="green"} %(bad)s
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="admin"} 77
# TYPE envoy_cluster_grpc_13 counter
envoy_cluster_grpc_13{envoy_cluster_name="green"} %(internal)s
# TYPE envoy_cluster_grpc_5 counter
envoy_cluster_grpc_5{envoy_cluster_name="green"} 40
# TYPE envoy_cluster_membership_healthy gauge
envoy_cluster_membership_healthy{envoy_cluster_name="green"} 2
envoy_cluster_membership_healthy{envoy_cluster_name="unproven_green"} 2
# TYPE envoy_cluster_upstream_rq_time histogram
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="green",le="100"} %(quick)s
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="green",le="2500"} %(all)s
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="green",le="+Inf"} %(all)s
"""
BEFORE = {"good": 100, "bad": 0, "internal": 3, "quick": 100, "all": 100}
AFTER = {"good": 195, "bad": 5, "internal": 10, "quick": 180, "all": 200}


async def serve(texts: list[str], kind: str = "text/plain") -> TestServer:
    """An HTTP server that gives one text after the other."""
    left = iter(texts)

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=next(left), content_type=kind)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    server = TestServer(app)
    await server.start_server()
    return server


async def test_figures_are_what_came_in_between() -> None:
    server = await serve([PAGE % BEFORE, PAGE % AFTER])
    source = Gateway(str(server.make_url("/stats/prometheus")))
    before = await source.totals()
    found = (await source.totals()).since(before, Version.GREEN)
    assert found == Figures(calls=100, failures=7, p95=2.5, healthy=2), "7 by status, 5 of them by HTTP as well"
    await server.close()


async def test_prometheus_says_the_same() -> None:
    """The shape of an instant query's answer; what the query finds is for a real Prometheus to say."""

    def answer(green: int) -> str:
        return (
            '{"status": "success", "data": {"resultType": "vector", "result": ['
            '{"metric": {"__name__": "envoy_cluster_upstream_rq_xx", "envoy_cluster_name": "green",'
            f' "envoy_response_code_class": "2"}}, "value": [1.5, "{green}"]}},'
            '{"metric": {"__name__": "envoy_cluster_membership_healthy", "envoy_cluster_name": "green"},'
            ' "value": [1.5, "3"]}]}}'
        )

    server = await serve([answer(5), answer(25)], "application/json")
    source = Prometheus(str(server.make_url("/")))
    before = await source.totals()
    assert (await source.totals()).since(before, Version.GREEN) == Figures(20, 0, None, 3)
    await server.close()
    assert "unproven_green" in QUERY


@pytest.mark.parametrize("text", ["", "<html>", "envoy_cluster_upstream_rq_xx 1 2 3 4", "something_else 1\n"])
async def test_what_is_no_page_of_an_envoy_is_said(text: str) -> None:
    server = await serve([text, text])
    with pytest.raises(FiguresUnreadable):
        await Gateway(str(server.make_url("/"))).totals()
    with pytest.raises(FiguresUnreadable):
        await Prometheus(str(server.make_url("/"))).totals()
    await server.close()
    with pytest.raises(FiguresUnreadable):
        await Gateway("http://127.0.0.1:9/").totals()


def test_a_gateway_that_began_anew_hides_nothing() -> None:
    """Neither of its own, which it counts from nothing, nor of another gateway."""

    def totals(first: float, second: float) -> Totals:
        metric = "envoy_cluster_upstream_rq_xx"
        return Totals({(metric, Version.BLUE, "5", "one"): first, (metric, Version.BLUE, "5", "two"): second})

    assert totals(3, 140).since(totals(500, 100), Version.BLUE).failures == 43
    assert totals(500, 100).since(totals(500, 100), Version.BLUE).failures == 0


async def test_prometheus_keeps_gateways_apart() -> None:
    def answer(**counted: int) -> str:
        series = [
            {
                "metric": {
                    "__name__": "envoy_cluster_upstream_rq_xx",
                    "envoy_cluster_name": "green",
                    "envoy_response_code_class": "5",
                    "instance": gateway,
                },
                "value": [1.5, str(count)],
            }
            for gateway, count in counted.items()
        ]
        return json.dumps({"data": {"result": series}})

    server = await serve([answer(one=500, two=100), answer(one=3, two=140)], "application/json")
    source = Prometheus(str(server.make_url("/")))
    before = await source.totals()
    assert (await source.totals()).since(before, Version.GREEN).failures == 43
    await server.close()
    assert "instance, pod)" in QUERY


def test_origins_are_listed_with_commas() -> None:
    told = {"TRIA_ORIGINS": "https://one.example.com, https://two.example.com"}
    done = CliRunner(env=told).invoke(deploy, ["gateway", "--issuer", "https://id", "--audience", "a"])
    assert done.exit_code == 0, done.output
    for origin in ("one", "two"):
        assert json.dumps({"exact": f"https://{origin}.example.com"}) in json.dumps(json.loads(done.output))


@pytest.mark.parametrize(
    ("figures", "usual", "verdict"),
    [
        (Figures(1000, 9, 1.0, 2), 1.0, Verdict.GOOD),
        (Figures(1000, 11, 1.0, 2), 1.0, Verdict.BAD),
        (Figures(3, 2, 1.0, 2), 1.0, Verdict.BAD),
        (Figures(30, 1, 1.0, 2), 1.0, Verdict.GOOD),
        (Figures(19, 0, 1.0, 2), 1.0, Verdict.UNKNOWN),
        (Figures(0, 0, None, 2), 1.0, Verdict.UNKNOWN),
        (Figures(1000, 0, 1.0, 0), 1.0, Verdict.BAD),
        (Figures(1000, 0, 9.0, 2), 1.0, Verdict.BAD),
        (Figures(1000, 0, 9.0, 2), 8.0, Verdict.GOOD),
        (Figures(1000, 0, 9.0, 2), None, Verdict.BAD),
        (Figures(1000, 0, 4.9, 2), 0.1, Verdict.GOOD),
    ],
)
def test_verdict(figures: Figures, usual: float | None, verdict: Verdict) -> None:
    assert judge(figures, Figures(1000, 0, usual, 2), LIMITS)[0] is verdict


@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_more_failures_are_never_better(calls: int, failures: int) -> None:
    few, more = min(calls, failures), min(calls, failures * 2)
    stable = Figures(100, 0, 1.0, 1)
    if judge(Figures(calls, few, 1.0, 1), stable, LIMITS)[0] is Verdict.BAD:
        assert judge(Figures(calls, more, 1.0, 1), stable, LIMITS)[0] is Verdict.BAD


@given(percent=st.integers(0, 100))
def test_the_split_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, percent: int) -> None:
    path = tmp_path_factory.mktemp("split") / "deep" / "split.yaml"
    split.write(path, percent)
    assert split.read(path) == percent
    assert [one.name for one in path.parent.iterdir()] == ["split.yaml"]


def test_no_other_share_is_written(tmp_path: Path) -> None:
    for percent in (-1, 101):
        with pytest.raises(ValueError, match="0 to 100"):
            split.write(tmp_path / "split.yaml", percent)
    (tmp_path / "other.yaml").write_text("resources: []")
    for name in ("other.yaml", "missing.yaml"):
        with pytest.raises(split.SplitUnreadable):
            split.read(tmp_path / name)
