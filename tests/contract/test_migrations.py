"""Every migration expands: read by PostgreSQL's own parser, none takes away or narrows what the release before uses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pglast
import pytest
from pglast import enums
from pglast.visitors import Visitor

from server.db.migrate import MIGRATIONS, load

_HARMLESS_DROPS = {enums.ObjectType.OBJECT_INDEX, enums.ObjectType.OBJECT_TRIGGER, enums.ObjectType.OBJECT_FUNCTION}
_NARROWING = {
    enums.AlterTableType.AT_DropColumn,
    enums.AlterTableType.AT_AlterColumnType,
    enums.AlterTableType.AT_SetNotNull,
}


class Narrowing(Visitor):
    """Gathers what the running release would stumble over. Tables that the same file makes may be changed at will."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._new: set[str] = set()

    def visit_CreateStmt(self, _: Any, node: Any) -> None:
        self._new.add(node.relation.relname)

    def visit_DropStmt(self, _: Any, node: Any) -> None:
        if node.removeType not in _HARMLESS_DROPS:
            self.found.append(f"drops {node.removeType.name}")

    def visit_RenameStmt(self, _: Any, node: Any) -> None:
        self.found.append(f"renames {node.subname or node.relation.relname}")

    def visit_TruncateStmt(self, *_: Any) -> None:
        self.found.append("truncates")

    def visit_AlterTableStmt(self, _: Any, node: Any) -> None:
        table = node.relation.relname
        if table in self._new:
            return
        for command in node.cmds:
            if command.subtype in _NARROWING:
                self.found.append(f"{table}: {command.subtype.name} {command.name}")
            elif command.subtype == enums.AlterTableType.AT_AddColumn:
                kinds = {one.contype for one in command.def_.constraints or ()}
                if enums.ConstrType.CONSTR_NOTNULL in kinds and not kinds & {
                    enums.ConstrType.CONSTR_DEFAULT,
                    enums.ConstrType.CONSTR_GENERATED,
                    enums.ConstrType.CONSTR_IDENTITY,
                }:
                    self.found.append(f"{table}: column {command.def_.colname} without a default must not be null")


def narrowing(sql: str) -> list[str]:
    visitor = Narrowing()
    visitor(pglast.parse_sql(sql))
    return visitor.found


def test_every_migration_says_that_it_is_additive() -> None:
    assert all(migration.additive for migration in load(MIGRATIONS))


@pytest.mark.parametrize("path", sorted(MIGRATIONS.glob("*.sql")), ids=lambda path: path.stem)
def test_a_migration_takes_nothing_away(path: Path) -> None:
    assert not narrowing(path.read_text())


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("drop table message", ["drops OBJECT_TABLE"]),
        ("alter table message drop column text", ["message: AT_DropColumn text"]),
        ("alter table message rename column text to words", ["renames text"]),
        ("alter table message alter column text type int", ["message: AT_AlterColumnType text"]),
        ("alter table message add column a int not null", ["message: column a without a default must not be null"]),
        ("alter table message add column a int not null default 0", []),
        ("create table t (a int); alter table t alter column a set not null", []),
        ("drop index message_time", []),
    ],
)
def test_what_narrows_is_seen(sql: str, found: list[str]) -> None:
    assert narrowing(sql) == found
