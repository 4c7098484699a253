"""A release beside the one before it: on one database with the newest schema, behind one gateway, with no call lost."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import ROUND_CEILING, Decimal
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from server.audit.changes import operator
from server.caller import Role
from server.db.pool import Database
from server.embedded import demo
from server.embedded.envoy import EmbeddedEnvoy
from server.embedded.issuer import Claims, Issuer
from server.order.catalogue import Catalogue
from server.order.catalogue_csv import read_catalogue
from server.order.product import CatalogueProduct
from server.rollout.figures import Gateway, Version
from server.rollout.judging import Limits
from server.rollout.moving import Pace, Rollout
from server.rollout.places import FilePlace
from tests.support.app import OUTLET, configuration
from tests.support.edge import edge_settings, until
from tests.support.releases import ROOT, Release, previous, running, take_out, widen


@dataclass
class Front:
    """A gateway before two releases, and customers of it."""

    url: str
    metrics: str
    split: Path
    issuer: Issuer
    wishes: Iterator[dict[str, str]]
    answers: Counter[str] = field(default_factory=Counter)

    def client(self) -> httpx.AsyncClient:
        """Somebody new: limits count per person."""
        subject = f"someone-{uuid.uuid4().hex[:8]}"
        token = self.issuer.mint(Claims(Role.CUSTOMER, demo.TENANT, subject, OUTLET, timedelta(hours=1)))
        headers = {"authorization": f"Bearer {token}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60)

    async def visit(self) -> None:
        """One customer: a question, and an order that is stored, confirmed and read again."""
        async with self.client() as client:
            asked = await client.post("/api/chatbot", json={"message": "How much is the 12 inch pizza box?"})
            self.answers[f"chat {asked.status_code}"] += 1
            body = {"lines": [next(self.wishes)]}
            made = await client.post(f"/v1/orders?request_id={uuid.uuid4()}", json=body)
            self.answers[f"order {made.status_code}"] += 1
            name = made.json().get("name", "orders/none")
            confirmed = await client.post(f"/v1/{name}:confirm", json={"request_id": str(uuid.uuid4())})
            self.answers[f"confirm {confirmed.status_code}"] += 1
            read = await client.get(f"/v1/{name}")
            self.answers[f"read {read.status_code}"] += 1
            assert "SGD" in asked.json()["text"], asked.json()
            assert read.json()["state"] == "CONFIRMED", confirmed.text

    @asynccontextmanager
    async def traffic(self) -> AsyncIterator[None]:
        """Some who ask and order, some who only look, until the block ends."""
        stop = asyncio.Event()

        async def keep_visiting() -> None:
            while not stop.is_set():
                await self.visit()

        async def keep_browsing() -> None:
            while not stop.is_set():
                async with self.client() as client:  # somebody new: limits count per person
                    for _ in range(20):
                        found = await client.get("/v1/products?page_size=1")
                        self.answers[f"browse {found.status_code}"] += 1

        async with asyncio.TaskGroup() as group:
            for keep in (keep_visiting, keep_browsing, keep_browsing):
                group.create_task(keep())
            try:
                yield
            finally:
                stop.set()

    @property
    def failed(self) -> dict[str, int]:
        return {answer: count for answer, count in self.answers.items() if not answer.endswith(" 200")}


@dataclass(frozen=True, slots=True)
class Place:
    """Stores with an outlet and a catalogue, and the variables of a server over them."""

    folder: Path
    dsn: str
    issuer: Issuer
    variables: Mapping[str, str]
    wishes: Iterator[dict[str, str]]


@pytest_asyncio.fixture
async def place(dsn: str, redis_url: str, tmp_path: Path) -> Place:
    issuer = Issuer(tmp_path / "issuer")
    issuer.prepare()
    async with Database(dsn) as database:
        await demo.seed_tenant(database)
        rows, _ = read_catalogue((demo.DATA / "products.csv").read_bytes())
        await Catalogue(database).import_rows(operator(demo.TENANT), rows)
        async with database.connection() as connection:
            await connection.execute("update product set stock = 1000000")
    urls = {"TRIA_DATABASE_URL": dsn, "TRIA_REDIS_URL": redis_url, "TRIA_CHROMA_URL": "http://127.0.0.1:1"}
    return Place(tmp_path, dsn, issuer, configuration(tmp_path, issuer, urls), wishes([row.product for row in rows]))


def wishes(products: Sequence[CatalogueProduct]) -> Iterator[dict[str, str]]:
    """Lines that each make an order above the smallest, of one product after the other: who wants the same again within
    minutes is asked whether that is meant."""
    for times in itertools.count(1):
        for product in products:
            step = product.min_quantity or Decimal(1)
            packs = (Decimal(130) / product.price.amount / step).to_integral_value(ROUND_CEILING)
            yield {"sku": product.sku, "quantity": f"{packs * step * times:f}"}


@asynccontextmanager
async def gateway(place: Place, blue: Release, green: Release) -> AsyncIterator[Front]:
    settings = replace(edge_settings(place.folder, place.issuer, blue.port), green=f"127.0.0.1:{green.port}")
    envoy = EmbeddedEnvoy(place.folder / "envoy", settings, grace=5)
    url = await envoy.start()
    front = Front(
        url, f"http://127.0.0.1:{settings.metrics_port}/stats/prometheus", settings.split, place.issuer, place.wishes
    )

    async def both() -> bool:
        totals = await Gateway(front.metrics).totals()
        return all(totals.since(totals, version).healthy for version in Version)

    try:
        await until(both, seconds=30)
        yield front
    finally:
        await envoy.stop()


def older(folder: Path) -> Path:
    """The release before; where the clone has no history this tree, which then runs on the schema of tomorrow."""
    commit = previous()
    return take_out(commit, folder) if commit else ROOT


@pytest.mark.timeout(400)  # at 1 % it takes some hundred calls until the new release gets its first ones
async def test_the_release_before_and_this_one_serve_together(place: Place, tmp_path: Path) -> None:
    """The newest schema, and already what the next one might add: neither release may be troubled by what it does not
    know. All calls move from the old to the new one, the old one is stopped, and no customer notices."""
    assert await widen(place.dsn) > 20
    code = older(tmp_path / "before")
    lines: list[str] = []
    async with (
        running(tmp_path, place.variables, code, ROOT) as (old, new),
        gateway(place, old, new) as front,
    ):
        pace = Pace(hold=1.0, look=0.2, patience=90)
        rollout = Rollout(
            Version.GREEN, FilePlace(front.split), Gateway(front.metrics),
            limits=Limits(least_calls=1), pace=pace, tell=lines.append,
        )  # fmt: skip
        async with front.traffic():
            await until(lambda: front.answers["read 200"] > 2, seconds=60)
            outcome = await rollout.promote()
            assert outcome.promoted, lines
            assert await old.stop() == 0
            after = front.answers["read 200"]
            await until(lambda: front.answers["read 200"] > after + 2, seconds=60)
    assert not front.failed, "not one call failed"
    assert front.answers["order 200"] > 6
