"""SQLite's CREATE statements, read and edited token by token.

SQLite keeps the text a table was created with, and ``ALTER TABLE`` can change
little of it. So a definition is changed by changing that text. Hand-written
DDL holds comments, brackets and commas inside strings, four kinds of quotes
and clauses in any order; an edit here replaces the tokens it is about and
leaves every other character as it was.

What cannot be read raises ``DDLError``. Every edit reads its own result
before it returns it, so none can make a statement that this module cannot
read.

The grammar is SQLite's own: https://www.sqlite.org/lang_createtable.html,
https://www.sqlite.org/lang_createindex.html and ``src/parse.y``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from string import ascii_lowercase, ascii_uppercase

from framework_schema.errors import SchemaError

WORD, QUOTED, STRING, BLOB, NUMBER = "word", "quoted", "string", "blob", "number"
OPERATOR, PARAMETER, COMMENT, END = "operator", "parameter", "comment", "end"

# Words that need quotes to be a name. SQLite lets all its other keywords be one:
# https://www.sqlite.org/lang_keywords.html and %fallback in parse.y.
_RESERVED_WORDS = """
    ADD ALL ALTER AND AS AUTOINCREMENT BETWEEN CASE CHECK COLLATE COMMIT CONSTRAINT CREATE DEFAULT
    DEFERRABLE DELETE DISTINCT DROP ELSE ESCAPE EXCEPT EXISTS FOREIGN FROM GROUP HAVING IN INDEX
    INSERT INTERSECT INTO IS ISNULL JOIN LIMIT NOT NOTHING NOTNULL NULL ON OR ORDER PRIMARY
    REFERENCES RETURNING SELECT SET TABLE THEN TO TRANSACTION UNION UNIQUE UPDATE USING VALUES
    WHEN WHERE
"""
RESERVED = frozenset(_RESERVED_WORDS.split())

# Bare, these are values; in quotes they are names.
VALUE_WORDS = frozenset(["TRUE", "FALSE", "CURRENT_DATE", "CURRENT_TIME", "CURRENT_TIMESTAMP"])

ROWID_NAMES = ("rowid", "oid", "_rowid_")

_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")

# One token, as src/tokenize.c cuts it. Every character beyond ASCII belongs to a
# name there, a no-break space too; only a byte order mark is white space.
_TOKEN = r"""
      (?P<space>     [ \t\n\f\r\ufeff]+ )
    | (?P<comment>   --[^\n]* | /\*.*?(?:\*/|\Z) )
    | (?P<blob>      [xX]'(?:[0-9A-Fa-f]{2})*' )
    | (?P<string>    '[^']*(?:''[^']*)*' (?!') )
    | (?P<quoted>    "[^"]*(?:""[^"]*)*" (?!") | `[^`]*(?:``[^`]*)*` (?!`) | \[[^\]]*\] )
    | (?P<number>    (?: 0[xX][0-9A-Fa-f]+
                       | (?:[0-9][0-9_]*(?:\.[0-9_]*)? | \.[0-9][0-9_]*) (?:[eE][-+]?[0-9]+)? )
                     (?![A-Za-z0-9_$\x80-\U0010ffff]) )
    | (?P<word>      [A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]* )
    | (?P<parameter> \?[0-9]* | [:@$][A-Za-z0-9_$\x80-\U0010ffff]+ )
    | (?P<operator>  ->>|->|\|\||<<|>>|<=|>=|<>|==|!=|[-+*/%&|~<>=(),.;] )
"""


@lru_cache(maxsize=1)
def _tokens() -> re.Pattern[str]:
    """Compile the expression when the first statement is read: it takes longer than most commands."""
    return re.compile(_TOKEN, re.VERBOSE | re.DOTALL)


class DDLError(SchemaError):
    """A statement that this module cannot read, or an edit that makes no sense of it."""

    def __init__(self, sql: str, position: int, problem: str) -> None:
        self.sql, self.position, self.problem = sql, position, problem
        near = sql[position : position + 30] or "the end"
        super().__init__(f"{problem}, at position {position} ({near!r}) of: {sql}")


@dataclass(frozen=True, slots=True)
class Token:
    """One token: ``sql[start:end]`` is its text."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def word(self) -> str:
        """The keyword or operator this may be, in capitals; empty for quoted things and values."""
        return self.text.upper() if self.kind in (WORD, OPERATOR) and self.text.isascii() else ""

    @property
    def name(self) -> str:
        """The name this stands for, without its quotes."""
        if self.text[0] == "[":
            return self.text[1:-1]
        if self.kind in (QUOTED, STRING):
            mark = self.text[0]
            return self.text[1:-1].replace(mark * 2, mark)
        return self.text


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A reference to a parent.

    ``to_columns`` is empty when the parent's primary key is meant without
    being named. ``deferrable`` is the clause in capitals, or empty. ``text``
    begins at REFERENCES and is what ``with_references`` takes.
    """

    columns: tuple[str, ...]
    table: str
    to_columns: tuple[str, ...]
    on_delete: str
    on_update: str
    deferrable: str
    text: str


@dataclass(frozen=True, slots=True)
class ColumnDef:
    """One column.

    ``type`` has its white space folded and is empty for none. ``default`` is
    the value as written, brackets too: compare with ``normalise_default``.
    ``checks`` are normalised; ``generated`` is the normalised expression and
    STORED or VIRTUAL. ``text`` is the definition as written, from the name to
    its last token: conflict clauses and constraint names live there.
    """

    name: str
    type: str
    not_null: bool
    default: str | None
    primary_key: bool
    autoincrement: bool
    unique: bool
    checks: tuple[str, ...]
    collation: str | None
    generated: str | None
    foreign_keys: tuple[ForeignKey, ...]
    text: str

    @property
    def references(self) -> ForeignKey | None:
        """The column's foreign key; SQLite allows several, then this is the first."""
        return self.foreign_keys[0] if self.foreign_keys else None


@dataclass(frozen=True, slots=True)
class Constraint:
    """One table constraint, as written in ``text``, its CONSTRAINT name included.

    ``kind`` is ``primary key``, ``unique``, ``check``, ``foreign key``, or
    ``name`` for a CONSTRAINT name that nothing follows.
    """

    kind: str
    name: str | None
    columns: tuple[str, ...]
    expression: str | None
    foreign_key: ForeignKey | None
    autoincrement: bool
    text: str


@dataclass(frozen=True, slots=True)
class TableDef:
    """One table. The properties gather what columns and table constraints say."""

    name: str
    columns: tuple[ColumnDef, ...]
    constraints: tuple[Constraint, ...]
    schema: str | None
    temporary: bool
    strict: bool
    without_rowid: bool

    def column(self, name: str) -> ColumnDef | None:
        """Return the column of this name, in whatever case, or None."""
        return next((column for column in self.columns if fold(column.name) == fold(name)), None)

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The primary key's columns, in key order; empty for none."""
        inline = tuple(column.name for column in self.columns if column.primary_key)
        return next((c.columns for c in self.constraints if c.kind == "primary key"), inline)

    @property
    def autoincrement(self) -> bool:
        """Whether ids are never used twice (https://www.sqlite.org/autoinc.html)."""
        return any(column.autoincrement for column in self.columns) or any(
            constraint.autoincrement for constraint in self.constraints
        )

    @property
    def uniques(self) -> tuple[tuple[str, ...], ...]:
        """Columns of each UNIQUE, those of single columns first."""
        inline = tuple((column.name,) for column in self.columns if column.unique)
        return inline + tuple(c.columns for c in self.constraints if c.kind == "unique")

    @property
    def checks(self) -> tuple[str, ...]:
        """Each CHECK, normalised, those of columns first."""
        inline = tuple(check for column in self.columns for check in column.checks)
        return inline + tuple(c.expression for c in self.constraints if c.expression is not None)

    @property
    def foreign_keys(self) -> tuple[ForeignKey, ...]:
        """Each foreign key, those of columns first."""
        inline = tuple(key for column in self.columns for key in column.foreign_keys)
        return inline + tuple(c.foreign_key for c in self.constraints if c.foreign_key is not None)


@dataclass(frozen=True, slots=True)
class IndexColumn:
    """One part of an index: ``name`` for a plain column, else None; ``expression`` is normalised."""

    name: str | None
    expression: str
    descending: bool
    collation: str | None


@dataclass(frozen=True, slots=True)
class IndexDef:
    """One index. ``where`` is the normalised condition of a partial index."""

    name: str
    table: str
    unique: bool
    columns: tuple[IndexColumn, ...]
    where: str | None


# Tokens


def tokenize(sql: str) -> Iterator[Token]:
    """Yield every token of ``sql``, comments too; white space is what lies between them.

    Raises ``DDLError`` at a quote that does not close or a character SQLite does not know.
    """
    pattern, position = _tokens(), 0
    while position < len(sql):
        match = pattern.match(sql, position)
        if match is None or match.lastgroup is None:
            raise DDLError(sql, position, "no token of SQLite's SQL")
        if match.lastgroup != "space":
            yield Token(match.lastgroup, match.group(), position, match.end())
        position = match.end()


def significant(sql: str) -> tuple[Token, ...]:
    """Return the tokens of ``sql`` that are no comments."""
    return tuple(token for token in tokenize(sql) if token.kind != COMMENT)


def fold(name: str) -> str:
    """Return the form in which two spellings of one name are equal: SQLite folds ASCII only."""
    return name.translate(_LOWER)


def quote(name: str) -> str:
    """Return ``name`` as an identifier that is safe whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


# Expressions, for comparing


def normalise(expression: str, columns: Collection[str] | None = None) -> str:
    """Return an expression in one canonical spelling, so that equal ones are equal texts.

    Comments and the outermost redundant brackets go, blanks are set by one
    rule, keywords are in capitals, names in small letters and without quotes
    where they need none, ``==`` is ``=`` and ``!=`` is ``<>``. String literals
    stay to the letter. The result is SQL that means the same.

    Give ``columns`` to have double-quoted words that name none of them read as
    the strings that SQLite takes them for (https://www.sqlite.org/quirks.html,
    section 8).
    """
    known = None if columns is None else {fold(name) for name in (*columns, *ROWID_NAMES)}
    tokens = _unwrapped(significant(expression))
    rendered = [_rendered(tokens, index, known) for index in range(len(tokens))]
    return "".join(
        _gap(tokens[index - 1], token) * (index > 0) + text
        for index, (token, text) in enumerate(zip(tokens, rendered, strict=True))
    )


def normalise_default(text: str | None) -> str | None:
    """Return a column's default in one canonical spelling, None for no default.

    Takes what stands after DEFAULT and what ``PRAGMA table_info`` reports.
    NULL is no default. Numbers go by value, TRUE is 1 and FALSE is 0. A single
    double-quoted or bare word is a string there, as SQLite takes it.
    """
    if text is None:
        return None
    tokens = _unwrapped(significant(text))
    if len(tokens) == 1:
        return _plain_default(tokens[0])
    if len(tokens) == 2 and tokens[0].word in ("+", "-") and tokens[1].kind == NUMBER:
        number = _number(tokens[1].text, by_value=True)
        return number if tokens[0].word == "+" or number == "0" else f"-{number}"
    return normalise(text)


def _plain_default(token: Token) -> str | None:
    if token.word in ("NULL", "TRUE", "FALSE"):
        return {"NULL": None, "TRUE": "1", "FALSE": "0"}[token.word]
    if token.word in VALUE_WORDS:
        return token.word
    if token.kind in (QUOTED, WORD):
        return _literal(token.name)
    return _number(token.text, by_value=True) if token.kind == NUMBER else _value(token)


def _unwrapped(tokens: Sequence[Token]) -> Sequence[Token]:
    """Return the tokens without brackets that embrace them all."""
    while len(tokens) > 2 and tokens[0].word == "(" and _closing(tokens, 0) == len(tokens) - 1:
        tokens = tokens[1:-1]
    return tokens


def _closing(tokens: Sequence[Token], opening: int) -> int | None:
    """Return the index of the bracket that closes the one at ``opening``, None if none does."""
    depth = 0
    for index in range(opening, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[index].word, 0)
        if depth == 0:
            return index
    return None


def _rendered(tokens: Sequence[Token], index: int, known: Collection[str] | None) -> str:
    token = tokens[index]
    if known is not None and _is_string(tokens, index, known):
        return _literal(token.name)
    if token.kind == QUOTED:
        return _name(token.name)
    if token.kind == WORD:
        return token.word if token.word in RESERVED | VALUE_WORDS else fold(token.text)
    return _value(token)


def _is_string(tokens: Sequence[Token], index: int, known: Collection[str]) -> bool:
    """Tell whether SQLite falls back to a string for this double-quoted word."""
    before = tokens[index - 1].word if index else ""
    after = tokens[index + 1].word if index + 1 < len(tokens) else ""
    is_name = before in (".", "COLLATE", "AS") or after in (".", "(") or fold(tokens[index].name) in known
    return tokens[index].text.startswith('"') and not is_name


def _name(name: str) -> str:
    plain = _PLAIN.match(name) and name.upper() not in RESERVED | VALUE_WORDS
    return fold(name) if plain else quote(fold(name))


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _value(token: Token) -> str:
    if token.kind == NUMBER:
        return _number(token.text)
    if token.kind == BLOB:
        return token.text.upper()
    return {"==": "=", "!=": "<>"}.get(token.text, token.text)


def _number(text: str, *, by_value: bool = False) -> str:
    """Return one spelling for a number; ``by_value`` makes 100000.0 and 100000 one too."""
    if text[:2] in ("0x", "0X"):
        return text.lower()
    if not set(text) & set(".eE"):
        return str(int(text))
    value = float(text)
    whole = by_value and value.is_integer() and abs(value) < 2**53
    return str(int(value)) if whole else repr(value)


def _gap(before: Token, token: Token) -> str:
    """Return what stands between two tokens: a blank, but none inside brackets, calls and dotted names."""
    is_name = before.kind == QUOTED or (before.kind == WORD and before.word not in RESERVED)
    if NUMBER in (before.kind, token.kind) and "." in (before.word, token.word):
        return " "
    if before.word in ("(", ".") or token.word in (")", ",", ".") or (token.word == "(" and is_name):
        return ""
    return " "


# Reading


class _Reader:
    """The tokens of one statement, and where we are in them."""

    def __init__(self, sql: str, columns: Collection[str] | None = None) -> None:
        self.sql, self.columns = sql, columns
        end = Token(END, " ", len(sql), len(sql))
        self.tokens = (*significant(sql), end)
        self.index = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    @property
    def last_end(self) -> int:
        """Where the token before this one ends."""
        return self.tokens[self.index - 1].end if self.index else 0

    def at(self, *words: str) -> bool:
        ahead = self.tokens[self.index : self.index + len(words)]
        return len(ahead) == len(words) and all(t.word == w for t, w in zip(ahead, words, strict=True))

    def accept(self, *words: str) -> bool:
        found = self.at(*words)
        self.index += len(words) if found else 0
        return found

    def expect(self, *words: str) -> None:
        if not self.accept(*words):
            raise self.error(f"expected {' '.join(words)}")

    def one_of(self, *words: str) -> str:
        """Take one of these words, and return it."""
        word = self.token.word
        if word not in words:
            raise self.error(f"expected one of {', '.join(words)}")
        self.index += 1
        return word

    def at_name(self) -> bool:
        token = self.token
        return token.kind in (QUOTED, STRING) or (token.kind == WORD and token.word not in RESERVED)

    def name(self) -> str:
        if not self.at_name():
            raise self.error("expected a name")
        self.index += 1
        return self.tokens[self.index - 1].name

    def brackets(self) -> str:
        """Take a group in brackets, and return what is inside as written."""
        closing = _closing(self.tokens, self.index) if self.at("(") else None
        if closing is None:
            raise self.error("expected (...)")
        start, self.index = self.token.end, closing + 1
        return self.sql[start : self.tokens[closing].start]

    def error(self, problem: str) -> DDLError:
        return DDLError(self.sql, self.token.start, problem)


@dataclass(frozen=True, slots=True)
class _Clause:
    """One constraint of a column; ``start`` includes its CONSTRAINT name, ``body`` does not."""

    kind: str
    start: int
    body: int
    end: int
    value: str


@dataclass(frozen=True, slots=True)
class _Item:
    """One column or table constraint of a statement, with where it stands."""

    start: int
    end: int
    column: ColumnDef | None = None
    constraint: Constraint | None = None
    name_end: int = 0
    type_end: int = 0
    clauses: tuple[_Clause, ...] = ()


@dataclass(frozen=True, slots=True)
class _Statement:
    """A CREATE TABLE with the places an edit needs."""

    sql: str
    table: TableDef
    name: Token
    items: tuple[_Item, ...]


@lru_cache(maxsize=512)
def parse_table(sql: str) -> TableDef:
    """Return what a CREATE TABLE says.

    Raises ``DDLError``, also for a virtual table and for CREATE TABLE ... AS.
    """
    return _statement(sql).table


@lru_cache(maxsize=512)
def parse_column(definition: str) -> ColumnDef:
    """Return what one column definition says."""
    column = _column(definition).column
    assert column is not None
    return column


def parse_index(sql: str) -> IndexDef:
    """Return what a CREATE INDEX says."""
    reader = _Reader(sql)
    reader.expect("CREATE")
    unique = reader.accept("UNIQUE")
    reader.expect("INDEX")
    reader.accept("IF", "NOT", "EXISTS")
    name = _qualified(reader)[1].name
    reader.expect("ON")
    table = reader.name()
    columns = tuple(_index_column(part) for part in _parts(reader.brackets()))
    where = _rest(reader) if reader.accept("WHERE") else None
    _finish(reader)
    return IndexDef(name, table, unique, columns, where)


def trigger_action(sql: str) -> str:
    """Return what a CREATE TRIGGER does, normalised: all that follows its name."""
    reader = _Reader(sql)
    reader.expect("CREATE")
    _ = reader.accept("TEMP") or reader.accept("TEMPORARY")
    reader.expect("TRIGGER")
    reader.accept("IF", "NOT", "EXISTS")
    _qualified(reader)
    return normalise(sql[reader.token.start :])


def is_trigger(sql: str) -> bool:
    """Tell a CREATE TRIGGER from a CREATE INDEX."""
    return _object(sql)[0] == "TRIGGER"


def object_name(sql: str) -> str:
    """Return the name of what a CREATE INDEX or CREATE TRIGGER makes."""
    return _object(sql)[1].name


def rename_object(sql: str, new: str) -> str:
    """Return a CREATE INDEX or CREATE TRIGGER with another name for what it makes."""
    name = _object(sql)[1]
    return _spliced(sql, (name.start, name.end, quote(new)))


def _object(sql: str) -> tuple[str, Token]:
    """Return INDEX or TRIGGER, and the token that holds its name."""
    reader = _Reader(sql)
    reader.expect("CREATE")
    _ = reader.accept("UNIQUE") or reader.accept("TEMP") or reader.accept("TEMPORARY")
    kind = reader.one_of("INDEX", "TRIGGER")
    reader.accept("IF", "NOT", "EXISTS")
    return kind, _qualified(reader)[1]


def unique_title(table: str, parts: Collection[str]) -> str:
    """Return what the index is called that stands for a UNIQUE written in the table's own statement."""
    return "_".join([table, *(re.sub(r"\W+", "_", part) for part in parts), "unique"]).lower()


def _rest(reader: _Reader) -> str:
    start = reader.token.start
    tokens = reader.tokens[reader.index : -1]
    end = tokens[-1].start if tokens and tokens[-1].word == ";" else len(reader.sql)
    reader.index = len(reader.tokens) - 1
    return normalise(reader.sql[start:end])


def _parts(text: str) -> Iterator[str]:
    """Yield what commas outside of brackets separate."""
    start, depth = 0, 0
    for token in significant(text):
        depth += {"(": 1, ")": -1}.get(token.word, 0)
        if token.word == "," and depth == 0:
            yield text[start : token.start]
            start = token.end
    yield text[start:]


def _index_column(text: str) -> IndexColumn:
    tokens = significant(text)
    if [token.word for token in tokens[-2:-1]] == ["NULLS"]:
        tokens = tokens[:-2]
    descending = bool(tokens) and tokens[-1].word == "DESC"
    if tokens and tokens[-1].word in ("ASC", "DESC") and len(tokens) > 1:
        tokens = tokens[:-1]
    if not tokens:
        raise DDLError(text, 0, "expected a column or an expression")
    collation = tokens[2].name.upper() if len(tokens) == 3 and tokens[1].word == "COLLATE" else None
    tokens = tokens[:1] if collation else tokens
    plain = len(tokens) == 1 and tokens[0].kind in (WORD, QUOTED, STRING)
    name = tokens[0].name if plain else None
    expression = _name(name) if name is not None else normalise(text[: tokens[-1].end])
    return IndexColumn(name, expression, descending, collation)


def _statement(sql: str) -> _Statement:
    """Read a CREATE TABLE, twice: which double-quoted words are strings depends on all its columns."""
    first = _read_statement(_Reader(sql))
    return _read_statement(_Reader(sql, [column.name for column in first.table.columns]))


def _read_statement(reader: _Reader) -> _Statement:
    reader.expect("CREATE")
    temporary = reader.accept("TEMP") or reader.accept("TEMPORARY")
    reader.expect("TABLE")
    reader.accept("IF", "NOT", "EXISTS")
    schema, name = _qualified(reader)
    items = tuple(_items(reader))
    options = set(_options(reader))
    _finish(reader)
    columns = tuple(item.column for item in items if item.column is not None)
    constraints = tuple(item.constraint for item in items if item.constraint is not None)
    strict, bare = "STRICT" in options, "WITHOUT ROWID" in options
    table = TableDef(name.name, columns, constraints, schema, temporary, strict, bare)
    return _Statement(reader.sql, table, name, items)


def _qualified(reader: _Reader) -> tuple[str | None, Token]:
    """Take ``name`` or ``schema.name``; return the schema and the token that holds the name."""
    schema, token = None, reader.token
    name = reader.name()
    if reader.accept("."):
        schema, token = name, reader.token
        reader.name()
    return schema, token


def _items(reader: _Reader) -> Iterator[_Item]:
    """Take the columns and then the table constraints; between the latter commas may lack."""
    reader.expect("(")
    yield _read_column(reader)
    while not reader.accept(")"):
        comma = reader.accept(",")
        if _at_constraint(reader):
            yield from _constraints(reader)
            reader.expect(")")
            return
        if not comma:
            raise reader.error("expected a comma or )")
        yield _read_column(reader)


def _constraints(reader: _Reader) -> Iterator[_Item]:
    while not reader.at(")"):
        yield _read_constraint(reader)
        if reader.accept(",") and not _at_constraint(reader):
            raise reader.error("expected a table constraint")


def _at_constraint(reader: _Reader) -> bool:
    return reader.token.word in ("CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN")


def _options(reader: _Reader) -> Iterator[str]:
    while reader.token.kind == WORD:
        if reader.accept("WITHOUT", "ROWID"):
            yield "WITHOUT ROWID"
        else:
            yield reader.one_of("STRICT")
        if reader.accept(",") and reader.token.kind != WORD:
            raise reader.error("expected a table option")


def _finish(reader: _Reader) -> None:
    while reader.accept(";"):
        pass
    if reader.token.kind != END:
        raise reader.error("expected the end of the statement")


# Columns


def _column(definition: str) -> _Item:
    """Read a text that is one column definition and no more."""
    reader = _Reader(definition)
    item = _read_column(reader)
    if reader.token.kind != END:
        raise reader.error("expected the end of the column")
    return item


def _read_column(reader: _Reader) -> _Item:
    start = reader.token.start
    name = reader.name()
    name_end = reader.last_end
    kind = _type(reader)
    type_end = reader.last_end
    clauses = tuple(_clauses(reader))
    end = reader.last_end
    column = _column_def(name, kind, clauses, reader.sql[start:end])
    return _Item(start, end, column, None, name_end, type_end, clauses)


def _type(reader: _Reader) -> str:
    """Take the type name, which is any number of words; GENERATED ALWAYS AS is not of it."""
    words = []
    while reader.at_name() and not reader.at("GENERATED", "ALWAYS", "AS"):
        words.append(reader.name())
    size = ""
    if words and reader.at("("):
        size = "(" + ",".join(normalise(part).replace(" ", "") for part in _parts(reader.brackets())) + ")"
    return " ".join(words) + size


def _clauses(reader: _Reader) -> Iterator[_Clause]:
    while reader.token.kind == WORD:
        start = reader.token.start
        while reader.accept("CONSTRAINT"):
            reader.name()
        yield _clause(reader, start)


def _clause(reader: _Reader, start: int) -> _Clause:
    body = reader.token.start
    for words, kind, read in _COLUMN_CLAUSES:
        if reader.accept(*words):
            value = read(reader)
            return _Clause(kind, start, body, reader.last_end, value)
    if start == body:
        raise reader.error("expected a column constraint")
    return _Clause("name", start, reader.last_end, reader.last_end, "")


def _conflict(reader: _Reader) -> str:
    if reader.accept("ON", "CONFLICT"):
        return reader.one_of("ROLLBACK", "ABORT", "FAIL", "IGNORE", "REPLACE")
    return ""


def _primary_key(reader: _Reader) -> str:
    if reader.token.word in ("ASC", "DESC"):
        reader.index += 1
    _conflict(reader)
    return "AUTOINCREMENT" if reader.accept("AUTOINCREMENT") else ""


def _default(reader: _Reader) -> str:
    """Take a default's value: brackets, a literal with or without a sign, or a single word."""
    start = reader.token.start
    if reader.at("("):
        reader.brackets()
        return reader.sql[start : reader.last_end]
    signed = reader.accept("+") or reader.accept("-")
    is_value = reader.token.kind in (NUMBER, STRING, BLOB) or reader.at("NULL")
    if not is_value and (signed or not reader.at_name()):
        raise reader.error("expected a default value")
    reader.index += 1
    return reader.sql[start : reader.last_end]


def _generated(reader: _Reader) -> str:
    expression = normalise(reader.brackets(), reader.columns)
    stored = reader.accept("STORED")
    if not stored:
        reader.accept("VIRTUAL")
    return f"{expression} {'STORED' if stored else 'VIRTUAL'}"


def _check(reader: _Reader) -> str:
    return normalise(reader.brackets(), reader.columns)


def _reference(reader: _Reader) -> str:
    return _foreign_key(reader, (), reader.tokens[reader.index - 1].start).text


def _deferrable(reader: _Reader) -> str:
    if reader.accept("INITIALLY"):
        return "DEFERRABLE INITIALLY " + reader.one_of("DEFERRED", "IMMEDIATE")
    return "DEFERRABLE"


def _not_deferrable(reader: _Reader) -> str:
    return "NOT " + _deferrable(reader)


def _collation(reader: _Reader) -> str:
    return reader.name().upper()


_COLUMN_CLAUSES: tuple[tuple[tuple[str, ...], str, Callable[[_Reader], str]], ...] = (
    (("NOT", "NULL"), "not null", _conflict),
    (("NULL",), "null", _conflict),
    (("PRIMARY", "KEY"), "primary key", _primary_key),
    (("UNIQUE",), "unique", _conflict),
    (("CHECK",), "check", _check),
    (("DEFAULT",), "default", _default),
    (("COLLATE",), "collate", _collation),
    (("REFERENCES",), "references", _reference),
    (("DEFERRABLE",), "deferrable", _deferrable),
    (("NOT", "DEFERRABLE"), "deferrable", _not_deferrable),
    (("GENERATED", "ALWAYS", "AS"), "generated", _generated),
    (("AS",), "generated", _generated),
)


def _column_def(name: str, kind: str, clauses: tuple[_Clause, ...], text: str) -> ColumnDef:
    """Gather the clauses; of several defaults or collations the last one holds, as in SQLite."""
    said = {clause.kind: clause.value for clause in clauses}
    return ColumnDef(
        name=name,
        type=kind,
        not_null="not null" in said,
        default=said.get("default"),
        primary_key="primary key" in said,
        autoincrement=said.get("primary key") == "AUTOINCREMENT",
        unique="unique" in said,
        checks=tuple(clause.value for clause in clauses if clause.kind == "check"),
        collation=said.get("collate"),
        generated=said.get("generated"),
        foreign_keys=tuple(_column_keys(name, clauses)),
        text=text,
    )


def _column_keys(name: str, clauses: tuple[_Clause, ...]) -> Iterator[ForeignKey]:
    """Yield the column's foreign keys; a DEFERRABLE that stands apart belongs to the last one."""
    keys: list[ForeignKey] = []
    for clause in clauses:
        if clause.kind == "references":
            reader = _Reader(clause.value)
            reader.expect("REFERENCES")
            keys.append(_foreign_key(reader, (name,), 0))
        elif clause.kind == "deferrable" and keys:
            keys[-1] = replace(keys[-1], deferrable=clause.value)
    yield from keys


def _foreign_key(reader: _Reader, columns: tuple[str, ...], start: int) -> ForeignKey:
    """Take what follows REFERENCES, which began at ``start``."""
    table = reader.name()
    to_columns = _names(reader) if reader.at("(") else ()
    actions = dict(_actions(reader))
    deferrable = ""
    if reader.accept("NOT", "DEFERRABLE"):
        deferrable = _not_deferrable(reader)
    elif reader.accept("DEFERRABLE"):
        deferrable = _deferrable(reader)
    text = reader.sql[start : reader.last_end]
    on_delete, on_update = (actions.get(event, "NO ACTION") for event in ("DELETE", "UPDATE"))
    return ForeignKey(columns, table, to_columns, on_delete, on_update, deferrable, text)


def _actions(reader: _Reader) -> Iterator[tuple[str, str]]:
    while reader.at("ON") or reader.at("MATCH"):
        if reader.accept("MATCH"):
            yield "MATCH", reader.name()
            continue
        reader.expect("ON")
        event = reader.one_of("DELETE", "UPDATE", "INSERT")
        action = reader.one_of("SET", "NO", "CASCADE", "RESTRICT")
        if action == "SET":
            action += " " + reader.one_of("NULL", "DEFAULT")
        if action == "NO":
            reader.expect("ACTION")
            action += " ACTION"
        yield event, action


def _names(reader: _Reader) -> tuple[str, ...]:
    """Take ``(a, b COLLATE x DESC)`` and return the names."""
    names: list[str] = []
    reader.expect("(")
    while not names or reader.accept(","):
        names.append(reader.name())
        if reader.accept("COLLATE"):
            reader.name()
        if reader.token.word in ("ASC", "DESC"):
            reader.index += 1
    reader.accept("AUTOINCREMENT")
    reader.expect(")")
    return tuple(names)


# Table constraints


def _read_constraint(reader: _Reader) -> _Item:
    start, name = reader.token.start, None
    while reader.accept("CONSTRAINT"):
        name = reader.name()
    bare = Constraint("name", name, (), None, None, False, "")
    constraint = _constraint(reader, bare)
    if constraint is bare and name is None:
        raise reader.error("expected a table constraint")
    end = reader.last_end
    return _Item(start, end, None, replace(constraint, text=reader.sql[start:end]))


def _constraint(reader: _Reader, bare: Constraint) -> Constraint:
    start = reader.index
    if reader.accept("PRIMARY", "KEY"):
        bare = replace(bare, kind="primary key", columns=_names(reader))
        autoincrement = any(token.word == "AUTOINCREMENT" for token in reader.tokens[start : reader.index])
        bare = replace(bare, autoincrement=autoincrement)
        _conflict(reader)
    elif reader.accept("UNIQUE"):
        bare = replace(bare, kind="unique", columns=_names(reader))
        _conflict(reader)
    elif reader.accept("CHECK"):
        bare = replace(bare, kind="check", expression=_check(reader))
        _conflict(reader)
    elif reader.accept("FOREIGN", "KEY"):
        columns, begin = _names(reader), reader.token.start
        reader.expect("REFERENCES")
        key = _foreign_key(reader, columns, begin)
        bare = replace(bare, kind="foreign key", columns=columns, foreign_key=key)
    return bare


# Edits of a table


def rename_table(sql: str, new: str) -> str:
    """Return the CREATE TABLE with another name.

    References to itself stay: a table that is built under a passing name
    refers to the name it will get. A CHECK may put the table's name before a
    column (``t.a > 0``); that goes, since it says nothing and a rename under
    ``legacy_alter_table`` would not follow it.
    """
    statement = _statement(sql)
    name = statement.name
    splices = [(name.start, name.end, quote(new)), *_qualifiers(statement)]
    return _edited(sql, *splices)


def _qualifiers(statement: _Statement) -> Iterator[tuple[int, int, str]]:
    """Yield an empty splice for every ``table.`` and ``main.table.`` before a column of a CHECK."""
    tokens = [t for t in significant(statement.sql) if t.start > statement.name.end]
    for index in range(len(tokens) - 2):
        first, dot, column = tokens[index : index + 3]
        is_first = index == 0 or tokens[index - 1].word != "."
        if dot.word == "." and is_first and first.kind in (WORD, QUOTED):
            more = [t.word for t in tokens[index + 3 : index + 4]] == ["."]
            yield first.start, tokens[index + 4].start if more else column.start, ""


def replace_column(sql: str, name: str, definition: str) -> str:
    """Return the CREATE TABLE with this column defined anew; it may get another name too."""
    item = _find_column(_statement(sql), name)
    return _edited(sql, (item.start, item.end, _trimmed(definition)))


def append_column(sql: str, definition: str) -> str:
    """Return the CREATE TABLE with a column more, after the last one, laid out like that one."""
    return extended(sql, columns=[definition])


def extended(sql: str, columns: Iterable[str] = (), constraints: Iterable[str] = ()) -> str:
    """Return the CREATE TABLE with more columns and table constraints, each after the last of its kind.

    All at once: a table of 2,000 columns is read once and not for each of them.
    """
    items = _statement(sql).items
    columns, constraints = [_trimmed(text) for text in columns], [_trimmed(text) for text in constraints]
    last = max(index for index, item in enumerate(items) if item.column is not None)
    if last == len(items) - 1:
        return _edited(sql, *_insertion(sql, items, last, [*columns, *constraints]))
    after_columns = _insertion(sql, items, last, columns)
    return _edited(sql, *after_columns, *_insertion(sql, items, len(items) - 1, constraints))


def drop_column(sql: str, name: str) -> str:
    """Return the CREATE TABLE without this column.

    A key, CHECK or generated column that names it is an error, for a CHECK
    with the name in double quotes would silently compare a string from then on.
    """
    statement = _statement(sql)
    item = _find_column(statement, name)
    users = uses_column(statement.table, name)
    if users or len(statement.table.columns) == 1:
        problem = f"column {name} is used by {users[0]}" if users else f"{name} is the only column"
        raise DDLError(sql, item.start, problem)
    return _edited(sql, *_removal(sql, statement.items, statement.items.index(item)))


def append_constraint(sql: str, text: str) -> str:
    """Return the CREATE TABLE with a table constraint more, after all that is there."""
    return extended(sql, constraints=[text])


def drop_constraint(sql: str, which: int | Constraint) -> str:
    """Return the CREATE TABLE without one of ``parse_table(sql).constraints``, by index or value."""
    statement = _statement(sql)
    constraints = statement.table.constraints
    if isinstance(which, Constraint):
        if which not in constraints:
            raise DDLError(sql, 0, f"there is no table constraint {which.text}")
        which = constraints.index(which)
    index = len(statement.table.columns) + range(len(constraints))[which]
    return _edited(sql, *_removal(sql, statement.items, index))


def without_unique(sql: str, columns: Collection[str]) -> str:
    """Return the CREATE TABLE without its UNIQUE over just these columns, inline or as a constraint."""
    table = parse_table(sql)
    wanted = frozenset(map(fold, columns))
    for constraint in table.constraints:
        if constraint.kind == "unique" and frozenset(map(fold, constraint.columns)) == wanted:
            return drop_constraint(sql, constraint)
    column = table.column(next(iter(wanted)))
    if len(wanted) != 1 or column is None or not column.unique:
        raise DDLError(sql, 0, f"there is no unique on {', '.join(sorted(columns))}")
    return replace_column(sql, column.name, with_unique(column.text, False))


def uses_column(table: TableDef, name: str) -> tuple[str, ...]:
    """Return the parts of the table that need this column: constraints, and other columns."""
    users = [c.text for c in table.constraints if name_in(c.columns, name) or names_column(c.expression, name)]
    for column in table.columns:
        expressions = (*column.checks, column.generated)
        if fold(column.name) != fold(name) and any(names_column(text, name) for text in expressions):
            users.append(column.text)
    return tuple(users)


def name_in(names: Collection[str], name: str) -> bool:
    """Tell whether ``name`` is one of ``names``, whatever the case."""
    return fold(name) in {fold(other) for other in names}


def has_comments(sql: str) -> bool:
    """Tell whether a statement has comments, which SQLite does not heed when it cuts text out."""
    return any(token.kind == COMMENT for token in tokenize(sql))


def mentions(sql: str | None, *names: str) -> bool:
    """Tell whether a word of ``sql``, bare or quoted as a name, is one of ``names``.

    A server's own text, which SQLite's rules may not be able to read, is searched for words.
    """
    try:
        words = [token.name for token in significant(sql or "") if token.kind in (WORD, QUOTED)]
    except DDLError:
        words = re.findall(r"\w+", sql or "")
    return not set(map(fold, words)).isdisjoint(map(fold, names))


def names_column(sql: str | None, name: str) -> bool:
    """Tell whether an expression names a column: a word of that name that is no function."""
    tokens = (*significant(sql or ""), Token(END, " ", 0, 0))
    names = [t.name for t, after in pairwise(tokens) if t.kind in (WORD, QUOTED) and after.word != "("]
    return name_in(names, name)


def _find_column(statement: _Statement, name: str) -> _Item:
    for item in statement.items:
        if item.column is not None and fold(item.column.name) == fold(name):
            return item
    raise DDLError(statement.sql, statement.name.start, f"there is no column {name}")


def _edited(sql: str, *splices: tuple[int, int, str]) -> str:
    result = _spliced(sql, *splices)
    _statement(result)
    return result


def _spliced(sql: str, *splices: tuple[int, int, str]) -> str:
    """Return ``sql`` with each ``(start, end)`` replaced by its text; at one place, in the order given."""
    ordered = sorted(splices, key=lambda splice: splice[0])
    for start, end, text in reversed(ordered):
        sql = sql[:start] + text + sql[end:]
    return sql


def _trimmed(text: str) -> str:
    """Return ``text`` without what stands outside its tokens: a trailing comment would swallow a comma."""
    tokens = significant(text)
    return text[tokens[0].start : tokens[-1].end] if tokens else ""


def _insertion(sql: str, items: tuple[_Item, ...], index: int, texts: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Yield the splices that put ``texts`` after an item, and after the comment on that item's line."""
    if not texts:
        return
    item = items[index]
    comma = _comma_after(sql, item.end)
    indent = _indent(sql, item.start)
    place, open_comment = _line_end(sql, comma.end if comma else item.end)
    if open_comment and "\n" not in indent:
        indent = "\n" + indent
    if comma is None:
        yield item.end, item.end, ","
    yield place, place, ",".join(indent + text for text in texts) + ("," if comma else "")


def _comma_after(sql: str, position: int) -> Token | None:
    token = next((token for token in significant(sql) if token.start >= position), None)
    return token if token is not None and token.word == "," else None


def _indent(sql: str, position: int) -> str:
    """Return the white space before an item, a blank if there is none."""
    before = [token.end for token in tokenize(sql) if token.end <= position]
    return sql[before[-1] : position] or " "


def _line_end(sql: str, position: int) -> tuple[int, bool]:
    """Return where the comments that follow on the same line end, and whether the last is a ``--``."""
    is_open = False
    for token in tokenize(sql):
        if token.start < position:
            continue
        if token.kind != COMMENT or "\n" in sql[position : token.start]:
            break
        position, is_open = token.end, token.text.startswith("--")
    return position, is_open


def _removal(sql: str, items: tuple[_Item, ...], index: int) -> Iterator[tuple[int, int, str]]:
    """Yield the splices that take an item out, with the one comma it no longer needs."""
    item = items[index]
    comma = _comma_after(sql, item.end)
    yield item.start, _line_end(sql, comma.end if comma else item.end)[0], ""
    before = _comma_after(sql, items[index - 1].end) if index else None
    first_constraint = items[index - 1].column is not None and item.constraint is not None
    stays = comma is not None or (first_constraint and index + 1 < len(items))
    if before is not None and not stays:
        yield before.start, before.end, ""


# Edits of a column


def with_type(definition: str, kind: str) -> str:
    """Return the column definition with another type; an empty one takes it away."""
    item = _column(definition)
    text = f" {kind}" if kind else ""
    return _edited_column(definition, (item.name_end, max(item.name_end, item.type_end), text))


def with_not_null(definition: str, required: bool) -> str:
    """Return the column definition with or without NOT NULL; unchanged if it is so already."""
    if required:
        has = parse_column(definition).not_null
        return definition if has else _with_clause(definition, ("null",), "NOT NULL")
    return _with_clause(definition, ("not null",), None)


def with_default(definition: str, value: str | None) -> str:
    """Return the column definition with another default, None for none.

    ``value`` is SQL: a literal, or an expression, which gets the brackets
    that SQLite wants around it.
    """
    return _with_clause(definition, ("default",), None if value is None else _default_clause(value))


def with_references(definition: str, references: str | None) -> str:
    """Return the column definition with another foreign key, a text from REFERENCES on; None for none."""
    return _with_clause(definition, ("references", "deferrable"), references)


def with_unique(definition: str, unique: bool) -> str:
    """Return the column definition with or without UNIQUE; unchanged if it is so already."""
    if unique and parse_column(definition).unique:
        return definition
    return _with_clause(definition, ("unique",), "UNIQUE" if unique else None)


def with_collation(definition: str, collation: str | None) -> str:
    """Return the column definition with another COLLATE, None for none."""
    return _with_clause(definition, ("collate",), f"COLLATE {quote(collation)}" if collation else None)


def with_check(definition: str, expression: str) -> str:
    """Return the column definition with a CHECK more."""
    return _with_clause(definition, (), f"CHECK ({_trimmed(expression)})")


def without_check(definition: str, expression: str) -> str:
    """Return the column definition without its CHECKs that mean the same as ``expression``."""
    wanted = normalise(expression)
    gone = [c for c in _column(definition).clauses if c.kind == "check" and c.value == wanted]
    if not gone:
        raise DDLError(definition, 0, f"the column has no CHECK ({expression})")
    return _edited_column(definition, *(_clause_removal(definition, clause) for clause in gone))


def _default_clause(value: str) -> str:
    """Return DEFAULT with ``value``, in brackets unless it is a literal or has them."""
    tokens = significant(value)
    if not tokens:
        raise DDLError(value, 0, "a default needs a value")
    wrapped = _closing(tokens, 0) == len(tokens) - 1 and tokens[0].word == "("
    signed = len(tokens) == 2 and tokens[0].word in ("+", "-") and tokens[1].kind == NUMBER
    text = _trimmed(value)
    return f"DEFAULT {text}" if len(tokens) == 1 or wrapped or signed else f"DEFAULT ({text})"


def _with_clause(definition: str, kinds: tuple[str, ...], text: str | None) -> str:
    """Put ``text`` where the first clause of these kinds is, or at the end; take the others away."""
    item = _column(definition)
    clauses = [clause for clause in item.clauses if clause.kind in kinds]
    splices = [_clause_removal(definition, clause) for clause in clauses]
    if text is not None and clauses:
        splices[0] = (clauses[0].body, clauses[0].end, text)
    elif text is not None:
        splices = [(item.end, item.end, f" {text}")]
    return _edited_column(definition, *splices)


def _clause_removal(definition: str, clause: _Clause) -> tuple[int, int, str]:
    """Return the splice that takes a clause away with the blanks before it, but never a line break."""
    start = len(definition[: clause.start].rstrip(" \t"))
    follower = definition[clause.end : clause.end + 1]
    return start, clause.end, " " if follower and not follower.isspace() else ""


def _edited_column(definition: str, *splices: tuple[int, int, str]) -> str:
    result = _spliced(definition, *splices)
    _column(result)
    return result
