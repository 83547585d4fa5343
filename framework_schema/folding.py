"""Make what a plan makes at once as it will be in the end, rather than make it and then alter it.

SQLite reads the whole schema again after each ALTER TABLE, which takes most of
the time of a migration. In a stretch of CREATE TABLE, CREATE INDEX and ALTER
TABLE no table that is made gets a row, so it can be made with its final text,
and after the ALTERs of the tables that were there before. Every other statement
ends a stretch: it finds each table and each row as it would have found them.

What is thought out here is tried on a schema of the same text in memory before
it is used. The statements stay plain SQL; the schema's own table is only read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import Enum, auto
from itertools import groupby, islice

from framework_schema.ddl import COMMENT, DDLError, Token, fold, tokenize
from framework_schema.watched import EMPTY, SETTING, Statement

Schema = tuple[tuple[str, str, str, str | None], ...]
"""The rows of sqlite_master, in their order: type, name, table, text."""

READ = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_stat%' ESCAPE '\\'"
"""How to read a ``Schema``; what ANALYZE keeps is none of it."""

DATA = frozenset({"INSERT", "UPDATE", "DELETE", "REPLACE", "WITH"})
OFF = frozenset({"0", "OFF", "FALSE", "NO"})


class What(Enum):
    """What a statement does, as far as it matters here."""

    CREATE = auto()
    ALTER = auto()
    ASK = auto()
    SET = auto()
    OTHER = auto()
    DATA = auto()

    @property
    def ends_a_stretch(self) -> bool:
        """True for what may see rows, or make what we do not follow."""
        return self in (What.OTHER, What.DATA)


@dataclass(frozen=True, slots=True)
class Move:
    """A statement that is about the table or index of this name; a rename gives it the name ``to``."""

    statement: Statement
    what: What
    name: str = ""
    to: str | None = None


def folded(statements: Sequence[Statement], before: Schema) -> tuple[Statement, ...]:
    """Return statements that do the same to a database of the schema ``before``, and take less time.

    A stretch of which that was not seen in memory stays as it is.
    """
    stretches = [list(part) for _, part in groupby(map(read, statements), lambda move: move.what.ends_a_stretch)]
    if not any(map(_is_worth_it, stretches)):
        return tuple(statements)
    try:
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as model:
            _build(model, before)
            return tuple(statement for stretch in stretches for statement in _proven(model, stretch))
    except sqlite3.Error:
        return tuple(statements)


def shortened(stretch: Sequence[Move], before: Schema, after: Schema) -> tuple[Statement, ...]:
    """Return the ALTERs of tables that were there before, and then what is new, in its final text.

    What is new keeps its order, which is the one it has in ``after``.
    """
    there = {fold(name) for kind, name, *_ in before if kind != "trigger"}
    new: set[str] = set()
    kept = []
    for move in stretch:
        if move.what is What.CREATE:
            new |= {move.name} - there  # what is there already says IF NOT EXISTS
            there.add(move.name)
        elif move.name not in new:
            kept.append(move.statement)
        if move.to is not None:
            for names in (there, new) if move.name in new else (there,):
                names.discard(move.name)
                names.add(move.to)
    return (*kept, *(Statement(sql) for _, name, _, sql in after if sql and fold(name) in new))


def read(statement: Statement) -> Move:
    """Tell what a statement does; what is not one of the plain kinds is ``OTHER``."""
    if EMPTY.fullmatch(statement.sql):
        return Move(statement, What.ASK, fold(_tokens(statement)[3].name))
    if SETTING.fullmatch(statement.sql.strip()):
        is_off = statement.sql.rpartition("=")[2].strip().upper() in OFF
        return Move(statement, What.SET if is_off else What.OTHER)
    try:
        tokens = _tokens(statement)
    except DDLError:
        return Move(statement, What.OTHER)
    if tokens and tokens[0].word in DATA:
        return Move(statement, What.DATA)
    found = None if statement.params else _created(statement, tokens) or _altered(statement, tokens)
    return found or Move(statement, What.OTHER)


def _tokens(statement: Statement) -> list[Token]:
    return list(islice((token for token in tokenize(statement.sql) if token.kind != COMMENT), 10))


def _created(statement: Statement, tokens: list[Token]) -> Move | None:
    words = [token.word for token in tokens]
    if words[:3] == ["CREATE", "UNIQUE", "INDEX"]:
        del words[1], tokens[1]
    if words[:2] not in (["CREATE", "TABLE"], ["CREATE", "INDEX"]):
        return None
    place = 5 if words[2:5] == ["IF", "NOT", "EXISTS"] else 2
    follows = "(" if words[1] == "TABLE" else "ON"
    if words[place + 1 : place + 2] != [follows]:  # a schema's name before it, or AS SELECT after it
        return None
    return Move(statement, What.CREATE, fold(tokens[place].name))


def _altered(statement: Statement, tokens: list[Token]) -> Move | None:
    words = [token.word for token in tokens]
    if words[:2] != ["ALTER", "TABLE"] or words[3:4] not in (["ADD"], ["DROP"], ["RENAME"]):
        return None
    to = fold(tokens[5].name) if words[3:5] == ["RENAME", "TO"] and words[6:] in ([], [";"]) else None
    return Move(statement, What.ALTER, fold(tokens[2].name), to)


def _is_worth_it(stretch: Sequence[Move]) -> bool:
    """Tell whether an ALTER can be saved; the mere order of statements pays for no model.

    A rename takes along what sqlite_sequence holds under the old name, which may be left from another table.
    """
    made: dict[str, Move] = {}
    is_saved = False
    for move in stretch:
        if move.what is What.CREATE:
            made[move.name] = move
        elif move.what is What.ALTER and move.name in made:
            is_saved = True
            if move.to is not None:
                made[move.to] = made.pop(move.name)
                if "AUTOINCREMENT" in made[move.to].statement.sql.upper():
                    return False
    return is_saved


# The model in memory


def _build(model: sqlite3.Connection, schema: Schema) -> None:
    """Make the schema; raises ``sqlite3.Error`` when it does not come out as it is."""
    model.execute("PRAGMA foreign_keys = OFF")
    model.execute("BEGIN")
    if any(name == "sqlite_sequence" for _, name, *_ in schema):  # it stays when the table goes that it is for
        model.execute("CREATE TABLE passing (id INTEGER PRIMARY KEY AUTOINCREMENT)")
        model.execute("DROP TABLE passing")
    for _, name, _, sql in schema:
        if sql and not name.startswith("sqlite_"):
            model.execute(sql)
    if set(_schema(model)) != set(schema):
        raise sqlite3.DatabaseError("this schema cannot be made from its text")


def _proven(model: sqlite3.Connection, stretch: Sequence[Move]) -> tuple[Statement, ...]:
    """Do a stretch to the model, and return it: shortened, where that leads to the same schema."""
    whole = tuple(move.statement for move in stretch)
    if not (_is_worth_it(stretch) and _is_usual(model)):
        _do(model, (move.statement for move in stretch if move.what is not What.DATA))
        return whole
    before = _schema(model)
    model.execute("SAVEPOINT stretch")
    _do(model, whole)
    after = _schema(model)
    model.execute("ROLLBACK TO stretch")
    found = shortened(stretch, before, after)
    if not _leads_to(model, found, after):
        model.execute("ROLLBACK TO stretch")
        _do(model, whole)
        found = whole
    model.execute("RELEASE stretch")
    return found


def _is_usual(model: sqlite3.Connection) -> bool:
    """Tell whether renames follow references, and no temporary table stands before one of the same name."""
    (is_legacy,) = model.execute("PRAGMA legacy_alter_table").fetchone()
    (temporary,) = model.execute("SELECT count(*) FROM sqlite_temp_master").fetchone()
    return not is_legacy and not temporary


def _leads_to(model: sqlite3.Connection, statements: Sequence[Statement], after: Schema) -> bool:
    try:
        _do(model, statements)
    except sqlite3.Error:
        return False
    return _schema(model) == after


def _do(model: sqlite3.Connection, statements: Iterable[Statement]) -> None:
    """Run what changes the schema; there are no rows to be asked for."""
    for statement in statements:
        if not statement.asks:
            model.execute(statement.sql, statement.params)


def _schema(model: sqlite3.Connection) -> Schema:
    return tuple(model.execute(READ).fetchall())
