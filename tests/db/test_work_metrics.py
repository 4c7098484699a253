"""The figures of jobs, invoices, people who wait and answers, as rows make them."""

from __future__ import annotations

import re
from collections import Counter

from prometheus_client import CollectorRegistry

from server.accounting.invoice_store import UNSETTLED
from server.db.pool import Database
from server.jobs import JobStats, enqueue
from server.work_metrics import _ON_THEIR_WAY, _STATES, WorkMetrics

TENANT = "demo"


async def test_the_states_are_those_of_the_schema(database: Database) -> None:
    async with database.connection() as connection:
        rule = await connection.fetchval(
            "select pg_get_constraintdef(oid) from pg_constraint where conname = 'invoice_state_check'"
        )
    assert sorted(part.split("'")[0] for part in rule.split("ARRAY['")[1].split(", '")) == sorted(_STATES)


async def test_what_is_on_its_way_is_counted_often_and_the_rest_seldom(database: Database) -> None:
    registry = CollectorRegistry()
    metrics = WorkMetrics(registry, [])

    def count(state: str) -> float | None:
        return registry.get_sample_value("tria_invoices", {"state": state})

    assert sorted(re.findall(r"'(\w+)'", UNSETTLED)) == sorted(_ON_THEIR_WAY)
    async with database.connection() as connection:
        await metrics.sample(connection)
        await connection.execute("create temporary table invoice as table invoice with no data")
        await connection.execute("insert into invoice (state) values ('QUEUED'), ('VOIDED')")
        await metrics.sample(connection)
        assert (count("QUEUED"), count("VOIDED")) == (1, 0)
        metrics._count_all_at = 0.0
        await metrics.sample(connection)
        assert (count("QUEUED"), count("VOIDED")) == (1, 1)
        await connection.execute("drop table pg_temp.invoice")


async def test_jobs_by_what_they_wait_for(database: Database) -> None:
    registry = CollectorRegistry()
    metrics = WorkMetrics(registry, ["index_document"])

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    async with database.connection() as connection:
        await metrics.sample(connection)
        assert value("tria_jobs", state="queued") == 0
        assert value("tria_jobs_oldest_seconds") == 0
        assert value("tria_invoices", state="PAID") == 0
        await enqueue(connection, "index_document", b"due")
        await enqueue(connection, "index_document", b"later", delay=3600)
        held = await enqueue(connection, "index_document", b"held")
        await connection.execute("update pgqueuer set status = 'failed' where id = $1", held)
        await connection.execute("update pgqueuer set execute_after = now() - interval '90 s' where payload = 'due'")
        await metrics.sample(connection)
    assert value("tria_jobs", state="queued") == 1
    assert value("tria_jobs", state="held") == 1
    assert (value("tria_jobs_oldest_seconds") or 0) >= 90


async def test_answers_of_the_last_hour(database: Database) -> None:
    registry = CollectorRegistry()
    metrics = WorkMetrics(registry, [])
    async with database.connection() as connection:
        await connection.execute(
            "insert into tenant (id, name) values ($1, 'A supplier') on conflict do nothing", TENANT
        )
        await connection.execute("insert into conversation (tenant, id, outlet) values ($1, 'c', 'o')", TENANT)
        for number, (state, ago, cost) in enumerate(
            [
                ("COMPLETED", "1 min", 700),
                ("FAILED", "1 min", 50),
                ("INTERRUPTED", "20 min", 0),
                ("FAILED", "2 h", 9000),
            ]
        ):
            await connection.execute(
                "insert into run (tenant, conversation, id, message, ordinal, state, owner, lease_until, end_time,"
                " cost_micros) values ($1, 'c', $2, 'm', $3, $4, 'p', now(), now() - $5::text::interval, $6)",
                TENANT, str(number), number, state, ago, cost,
            )  # fmt: skip
        await metrics.sample(connection)
    assert registry.get_sample_value("tria_answers_cost_micros_last_hour") == 750
    assert registry.get_sample_value("tria_answers_lost_last_5m") == 1


def test_attempts_are_counted_once() -> None:
    registry = CollectorRegistry()
    metrics = WorkMetrics(registry, ["index_document"])
    stats = JobStats(succeeded=Counter(index_document=2), reconnects=1, connected=True)
    metrics.count(stats)
    stats.succeeded["index_document"] += 1
    metrics.count(stats)
    labels = {"entrypoint": "index_document", "outcome": "succeeded"}
    assert registry.get_sample_value("tria_jobs_ended_total", labels) == 3
    assert registry.get_sample_value("tria_worker_reconnects_total") == 1
    assert registry.get_sample_value("tria_worker_connected") == 1
