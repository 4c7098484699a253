"""`tria knowledge …`: documents from the command line, and how good retrieval is."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from server.audit.changes import operator
from server.db.errors import ConstraintViolated
from server.db.migrate import migrate
from server.db.pool import Database, PoolSettings
from server.embedded.chroma import EmbeddedChroma
from server.embedded.postgres import EmbeddedPostgres
from server.errors import AppError
from server.knowledge import evaluation, store
from server.knowledge.names import document_name
from server.knowledge.reader import MAX_BYTES, MEDIA_TYPES
from server.knowledge.vectors import KnowledgeIndexUnavailable
from server.knowledge.wiring import Knowledge, KnowledgeSettings, open_knowledge
from server.settings import Secret
from server.state_dir import NotRunning, direct_database, environment
from server.state_option import STATE_DIR
from server.tenants import ensure_tenant

_INDEX_PATIENCE = 60.0  # seconds in any case, and as much again for
_INDEX_SECONDS_PER_DOCUMENT = 2.0


@dataclass(frozen=True, slots=True)
class _Stores:
    """Where PostgreSQL and Chroma are, and which embedding model the running system uses."""

    database_url: str
    knowledge: KnowledgeSettings


@dataclass(slots=True)
class _Report:
    """What became of each file; `failed` has (path, reason)."""

    imported: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    indexed: bool = True


@click.group()
def knowledge() -> None:
    """The documents behind the answers."""


_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")


@knowledge.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--tenant", required=True, help="Tenant whose documents they are.")
@STATE_DIR
@_AS_JSON
def import_command(paths: tuple[Path, ...], tenant: str, state_dir: Path | None, as_json: bool) -> None:
    """Import Markdown, text and PDF files, and those in the folders named, as documents/{file name}.

    Files that have not changed are skipped, and a tenant that is new is created. Returns when all are found by meaning.
    Exit status 1 when a file failed.
    """
    stores = _configured(state_dir)
    report = _Report()
    files = _files(paths, report)
    try:
        asyncio.run(_import(stores, tenant, files, report))
    except AppError as error:
        raise click.ClickException(error.message) from error
    if as_json:
        click.echo(json.dumps(_as_dict(report), ensure_ascii=False))
    else:
        _show(report)
    raise SystemExit(1 if report.failed or not report.indexed else 0)


@knowledge.command("reindex")
@STATE_DIR
@_AS_JSON
def reindex_command(state_dir: Path | None, as_json: bool) -> None:
    """Have the vectors that are missing made anew, of all tenants: after a restore, or when Chroma was lost.

    The worker does it too, every ten minutes. Returns when the documents are queued for it; they are found by words
    meanwhile.
    """
    try:
        queued = asyncio.run(_reindex(_configured(state_dir)))
    except AppError as error:
        raise click.ClickException(error.message) from error
    except KnowledgeIndexUnavailable as error:
        raise click.ClickException("Chroma does not answer") from error
    click.echo(json.dumps({"queued": queued}) if as_json else f"{queued} documents queued")


async def _reindex(stores: _Stores) -> int:
    settings = PoolSettings(min_size=1, max_size=2, application_name="tria-knowledge")
    async with (
        Database(stores.database_url, settings) as database,
        open_knowledge(stores.knowledge, database) as known,
    ):
        return await known.service.repair()


@knowledge.command("evaluate")
@STATE_DIR
@_AS_JSON
@click.option("--misses", is_flag=True, help="List the questions that went wrong.")
def evaluate_command(state_dir: Path | None, as_json: bool, misses: bool) -> None:
    """Measure retrieval on the labelled demo questions; exit status 1 when it is below the bars.

    Runs on temporary stores of its own, or under a tenant of its own on those that are configured.
    """
    configured = state_dir is not None or "TRIA_DATABASE_URL" in os.environ
    outcomes = asyncio.run(_evaluate(_configured(state_dir) if configured else None))
    rows = evaluation.summarise(outcomes)
    problems = evaluation.below_the_bars(rows)
    if as_json:
        click.echo(json.dumps({"scores": [asdict(row) for row in rows], "below_the_bars": problems}))
    else:
        _show_scores(rows, problems)
    if misses:
        for line in _misses(outcomes):
            click.echo(line, err=as_json)
    raise SystemExit(1 if problems else 0)


def _configured(state_dir: Path | None) -> _Stores:
    """The stores from the environment or, for the embedded system, from what `tria up` wrote."""
    try:
        variables = environment(os.environ, state_dir)
    except NotRunning as error:
        raise click.ClickException(str(error)) from error
    missing = [name for name in ("TRIA_DATABASE_URL", "TRIA_CHROMA_URL") if not variables.get(name)]
    if missing:
        raise click.UsageError(f"set {' and '.join(missing)}, or give --state-dir of a running `tria up`")
    return _Stores(
        direct_database(variables),
        KnowledgeSettings(
            variables["TRIA_CHROMA_URL"],
            variables.get("OPENAI_EMBEDDING_MODEL", ""),
            Secret(variables.get("OPENAI_API_KEY", "")),
            variables.get("OPENAI_BASE_URL", ""),
        ),
    )


def _files(paths: Sequence[Path], report: _Report) -> list[Path]:
    """The files to import, in order. A file named on the command line must be readable by us; in folders others are
    passed over. Two files that would be one document are both refused."""
    found: dict[Path, None] = {}
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in MEDIA_TYPES and file.is_file())
            found |= dict.fromkeys(file for file in inside if not file.name.startswith("."))
        else:
            found[path] = None
    by_name: dict[str, list[Path]] = {}
    for file in found:
        by_name.setdefault(document_name(file.name), []).append(file)
    for name, same in by_name.items():
        if len({file.resolve() for file in same}) > 1:
            others = ", ".join(str(file) for file in same)
            report.failed += [(str(file), f"{others} would all be {name}; rename all but one") for file in same]
    refused = {path for path, _ in report.failed}
    return [same[0] for same in by_name.values() if str(same[0]) not in refused]


async def _import(stores: _Stores, tenant: str, files: Sequence[Path], report: _Report) -> None:
    settings = PoolSettings(min_size=1, max_size=2, application_name="tria-knowledge")
    async with (
        Database(stores.database_url, settings) as database,
        open_knowledge(stores.knowledge, database) as known,
    ):
        await _create_tenant(database, tenant)
        names = await _import_files(known, tenant, files, report)
        try:
            within = _INDEX_PATIENCE + _INDEX_SECONDS_PER_DOCUMENT * len(names)
            await known.service.wait_indexed(tenant, names, within=within)
        except AppError as error:
            report.indexed = False
            Console(stderr=True).print(error.message, style="yellow", markup=False, highlight=False)


async def _create_tenant(database: Database, tenant: str) -> None:
    """A tenant begins with its first import. Said aloud, because it may be a misspelt one."""
    try:
        async with database.transaction() as connection:
            created = await ensure_tenant(connection, tenant)
    except ConstraintViolated as refused:
        raise click.BadParameter("must be of a-z, 0-9, '-' and '_', 63 at most", param_hint="--tenant") from refused
    if created:
        click.echo(f"tenant {tenant} is new", err=True)


async def _import_files(known: Knowledge, tenant: str, files: Sequence[Path], report: _Report) -> list[str]:
    console = Console(stderr=True)
    names = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("documents", total=len(files))
        for file in files:
            progress.update(task, description=file.name)
            try:
                content = await asyncio.to_thread(_content, file)
                imported = await known.service.import_document(operator(tenant), file.name, content)
            except AppError as error:
                report.failed.append((str(file), error.message))
            except OSError as error:
                report.failed.append((str(file), error.strerror or "cannot be read"))
            else:
                names.append(imported.document.name)
                (report.unchanged if imported.unchanged else report.imported).append(imported.document.name)
            progress.advance(task)
    return names


def _content(file: Path) -> bytes:
    """At most one byte more than is allowed: enough to be refused, however large the file is."""
    with file.open("rb") as opened:
        return opened.read(MAX_BYTES + 1)


def _as_dict(report: _Report) -> dict[str, object]:
    return {
        "imported": report.imported,
        "unchanged": report.unchanged,
        "failed": [{"path": path, "message": message} for path, message in report.failed],
        "indexed": report.indexed,
    }


def _show(report: _Report) -> None:
    for name in report.imported:
        click.echo(f"imported   {name}")
    for name in report.unchanged:
        click.echo(f"unchanged  {name}")
    for path, message in report.failed:
        click.echo(f"failed     {path}: {message}", err=True)
    counts = f"{len(report.imported)} imported, {len(report.unchanged)} unchanged, {len(report.failed)} failed"
    click.echo(counts if report.indexed else f"{counts}; not all are found by meaning yet")


@asynccontextmanager
async def _temporary_stores() -> AsyncIterator[_Stores]:
    with tempfile.TemporaryDirectory(prefix="tria-evaluate-") as folder:
        root = Path(folder)
        await asyncio.to_thread(root.chmod, 0o711)  # the system user that PostgreSQL runs as must be able to enter
        async with AsyncExitStack() as stack:
            postgres = EmbeddedPostgres(root / "postgres", settings={"fsync": "off"})
            database_url = await postgres.start()
            stack.push_async_callback(postgres.stop)
            chroma = EmbeddedChroma(root / "chroma")
            chroma_url = await chroma.start()
            stack.push_async_callback(chroma.stop)
            await migrate(database_url)
            yield _Stores(database_url, KnowledgeSettings(chroma_url))


async def _evaluate(stores: _Stores | None) -> list[evaluation.Outcome]:
    tenant = f"evaluation-{os.getpid()}"
    async with AsyncExitStack() as stack:
        if stores is None:
            stores = await stack.enter_async_context(_temporary_stores())
        database = await stack.enter_async_context(Database(stores.database_url, PoolSettings(min_size=1, max_size=3)))
        known = await stack.enter_async_context(open_knowledge(stores.knowledge, database))
        async with database.transaction() as connection:
            await ensure_tenant(connection, tenant)
        names: list[str] = []
        try:
            for filename, content in await asyncio.to_thread(evaluation.load_documents):
                imported = await known.service.import_document(operator(tenant), filename, content)
                names.append(imported.document.name)
            await known.service.wait_indexed(tenant, names)
            return await evaluation.run(known.search, tenant, evaluation.load_questions())
        finally:
            for name in names:
                await known.service.delete_document(operator(tenant), name)
            await known.index.drop(tenant)
            async with database.transaction() as connection:
                await store.remove_tenant(connection, tenant)


def _show_scores(rows: Sequence[evaluation.Scores], problems: Sequence[str]) -> None:
    console = Console()
    columns = ("part", "language", "questions", "top-1", "top-3", "answered", "off topic", "refused")
    table = Table(*columns, title="Retrieval on the labelled questions")
    for row in rows:
        shares = [f"{share:.1%}" for share in (row.top1, row.top3, row.answered)]
        table.add_row(
            row.part, row.language, str(row.count), *shares, str(row.off_topic), f"{row.refused:.1%}",
            end_section=row.language == "*",
        )  # fmt: skip
    console.print(table)
    for problem in problems:
        console.print(problem, style="red", markup=False, highlight=False)


def _misses(outcomes: Sequence[evaluation.Outcome]) -> list[str]:
    lines = []
    for outcome in outcomes:
        labelled = outcome.labelled
        wrong = outcome.confident if labelled.off_topic else outcome.rank is None or not outcome.confident
        if wrong:
            best = outcome.found[0] if outcome.found else "nothing"
            lines.append(f"{labelled.id}  {outcome.score:.2f}  {labelled.question}  ->  {best}")
    return lines
