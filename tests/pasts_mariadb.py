"""The historical databases as MariaDB databases: moved by a public tool, or written by hand with what people choose.

Nothing here knows the package's engine code: the forms are made from the SQLite file alone.
"""

import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import servers

MOVER = Path(sys.executable).parent / "sqlite3mysql"


def move(path, url):
    """Move a SQLite file by sqlite3-to-mysql, which goes on where MariaDB refuses one of its foreign keys."""
    parts = urlsplit(url)
    program = str(MOVER) if MOVER.exists() else shutil.which("sqlite3mysql")
    done = subprocess.run(
        [program, "-f", path, "-d", parts.path[1:], "-u", parts.username, "-h", parts.hostname, "-P", str(parts.port),
         "-q"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 or "foreign key" in done.stderr + done.stdout, done.stderr[-1000:] + done.stdout[-1000:]


class Form:
    """How somebody wrote the tables: types by the kind of column, and what stands behind them."""

    def __init__(
        self, number="INT", text="TEXT", key="VARCHAR(190)", moment="DATETIME", real="DOUBLE", behind="", **has
    ):
        self.number, self.text, self.key, self.moment, self.real, self.behind = number, text, key, moment, real, behind
        self.keys = has.get("keys", True)
        self.zero_dates, self.enums, self.extras = (has.get(n, False) for n in ("zero_dates", "enums", "extras"))
        self.ansi, self.broken_json = has.get("ansi", False), has.get("broken_json", False)


FORMS = {
    "natural": Form(),
    "int unsigned": Form(number="INT UNSIGNED"),
    "bigint": Form(number="BIGINT"),
    "myisam": Form(key="VARCHAR(80)", behind=" ENGINE=MyISAM", keys=False),  # whose keys have 1,000 bytes at most
    "aria, bigint unsigned": Form(number="BIGINT UNSIGNED", behind=" ENGINE=Aria", keys=False),
    "utf8mb3": Form(behind=" DEFAULT CHARSET=utf8mb3"),
    "latin1": Form(behind=" DEFAULT CHARSET=latin1"),
    "zero dates": Form(moment="DATETIME", zero_dates=True),
    "timestamps": Form(moment="TIMESTAMP NULL"),
    "enums": Form(enums=True),
    "no foreign keys": Form(keys=False, text="MEDIUMTEXT"),
    "longtext": Form(text="LONGTEXT", key="LONGTEXT"),
    "varchar(500)": Form(key="VARCHAR(500)"),
    "broken json": Form(broken_json=True, behind=" COMMENT='made, (by hand)' ROW_FORMAT=DYNAMIC"),
    "view, trigger, ansi": Form(extras=True, ansi=True),
}
NUMBERS, MOMENTS = ("INT", "BOOL"), ("TIMESTAMP", "DATETIME")
ZERO = "0000-00-00 00:00:00"


def write(path, url, form):
    """Write the tables of a SQLite file and their rows in a form."""
    with closing(sqlite3.connect(path)) as source, closing(servers.connect("mariadb", url)) as target:
        cursor = target.cursor()
        mode = "NO_ENGINE_SUBSTITUTION,NO_AUTO_VALUE_ON_ZERO" + (",ANSI_QUOTES" if form.ansi else "")
        cursor.execute(f"SET SESSION sql_mode = '{mode}', foreign_key_checks = 0, time_zone = '+00:00'")
        tables = [
            name
            for (name,) in source.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
            if not name.startswith("sqlite_")
        ]
        for table in tables:
            Writer(source, cursor, form, table).write()
        if form.extras:
            table = "Entry" if "Entry" in tables else tables[0]
            cursor.execute(f'CREATE VIEW "all of it" AS SELECT * FROM "{table}"')
            cursor.execute(f"""CREATE TRIGGER "by hand" BEFORE UPDATE ON "{table}" FOR EACH ROW SET @seen = 'a\\\\b'""")


class Writer:
    """Writes one table."""

    def __init__(self, source, cursor, form, table):
        self.source, self.cursor, self.form, self.table = source, cursor, form, table
        self.columns = source.execute(f'PRAGMA table_info("{table}")').fetchall()
        self.foreign = {}
        for _, _, to, here, there, _, on_delete, _ in source.execute(f'PRAGMA foreign_key_list("{table}")'):
            self.foreign[here] = (to, there, on_delete)
        self.indexes = []
        for _, name, unique, origin, partial in source.execute(f'PRAGMA index_list("{table}")'):
            names = [row[2] for row in source.execute(f'PRAGMA index_info("{name}")')]
            if origin != "pk" and not partial:
                self.indexes.append((name, unique, names))
        self.keyed = {name for _, _, names in self.indexes for name in names}

    def q(self, name):
        return f'"{name}"' if self.form.ansi else f"`{name}`"

    def kind(self, column):
        _, name, kind, _, default, in_key = column
        kind, form = kind.upper(), self.form
        if name in self.foreign and any(word in kind for word in NUMBERS):
            return form.number
        if any(word in kind for word in NUMBERS):
            return "TINYINT(1)" if "BOOL" in kind else form.number
        if "REAL" in kind or "FLOA" in kind or "DOUB" in kind:
            return form.real
        if any(word in kind for word in MOMENTS):
            return form.moment
        if form.enums and name in ("status", "category", "link_type"):
            values = {row[0] for row in self.source.execute(f'SELECT "{name}" FROM "{self.table}"')} - {None}
            words = sorted(values | {(default or "''").strip("'\"")} - {""})
            return "ENUM({})".format(", ".join("'" + w.replace("'", "''") + "'" for w in words or ["none"]))
        return form.key if in_key or name in self.keyed or name in self.foreign or name == "name" else form.text

    def definition(self, column):
        _, name, _, not_null, default, in_key = column
        kind = self.kind(column)
        parts = [self.q(name), kind]
        alone = sum(bool(c[5]) for c in self.columns) == 1
        if in_key and alone and kind == self.form.number:
            return " ".join([*parts, "NOT NULL AUTO_INCREMENT"])
        parts += ["NOT NULL"] if not_null or in_key else []
        if default is not None and not in_key:
            parts.append(f"DEFAULT {self.default(kind, default)}")
        return " ".join(parts)

    def default(self, kind, default):
        text = default.strip("()")
        if text.upper() == "CURRENT_TIMESTAMP":
            return "CURRENT_TIMESTAMP" if kind.startswith(("DATETIME", "TIMESTAMP")) else "(CURRENT_TIMESTAMP)"
        if re.fullmatch(r"-?[\d.]+|NULL|TRUE|FALSE", text, re.I):
            return text
        bare = text[1:-1].replace("''", "'") if text[:1] in "'\"" else text
        if self.form.broken_json and bare.startswith("{"):
            bare = f"`{bare}`"
        literal = "'" + bare.replace("\\", "\\\\").replace("'", "''") + "'"
        return f"({literal})" if kind.endswith("TEXT") else literal

    def write(self):
        form, q = self.form, self.q
        parts = [self.definition(column) for column in self.columns]
        kinds = {column[1]: self.kind(column) for column in self.columns}
        key = [c[1] for c in sorted((c for c in self.columns if c[5]), key=lambda c: c[5])]
        if key:
            parts.append("PRIMARY KEY ({})".format(", ".join(self.part(name, kinds) for name in key)))
        for name, unique, names in self.indexes:
            listed = ", ".join(self.part(n, kinds) for n in names)
            label = f"{self.table}_{'_'.join(names)}"[:60] if name.startswith("sqlite_") else name
            parts.append(f"{'UNIQUE ' if unique else ''}KEY {q(label)} ({listed})")
        if form.keys:
            for here, (to, there, on_delete) in self.foreign.items():
                fits = self.fits(kinds[here], to, there)
                if fits:
                    parts.append(f"FOREIGN KEY ({q(here)}) REFERENCES {q(to)} ({q(fits)}) ON DELETE {on_delete}")
        self.cursor.execute(f"CREATE TABLE {q(self.table)} ({', '.join(parts)}){form.behind}")
        self.fill(kinds)

    def part(self, name, kinds):
        return f"{self.q(name)}(120)" if kinds[name].endswith("TEXT") else self.q(name)

    def fits(self, kind, to, there):
        columns = self.source.execute(f'PRAGMA table_info("{to}")').fetchall()
        if not columns or kind.endswith("TEXT"):
            return None
        other = Writer(self.source, self.cursor, self.form, to)
        name = there or next(c[1] for c in columns if c[5])
        uniques = {tuple(names) for _, unique, names in other.indexes if unique} | {
            tuple(c[1] for c in columns if c[5])
        }
        same = next((c for c in columns if c[1] == name), None)
        return name if same and (name,) in uniques and other.kind(same) == kind else None

    def fill(self, kinds):
        names = list(kinds)
        marks = ", ".join("%s" for _ in names)
        rows = [list(row) for row in self.source.execute(f'SELECT * FROM "{self.table}"')]
        for number, row in enumerate(rows):
            for place, name in enumerate(names):
                is_moment = kinds[name].startswith(("DATETIME", "TIMESTAMP"))
                if is_moment and row[place] is not None and not re.match(r"\d{4}-\d\d-\d\d", str(row[place])):
                    row[place] = None
                if self.form.zero_dates and is_moment and number % 3 == 0:
                    row[place] = ZERO
        if rows:
            listed = ", ".join(map(self.q, names))
            self.cursor.executemany(f"INSERT INTO {self.q(self.table)} ({listed}) VALUES ({marks})", rows)


def contents(url):
    """Return every row of every table, by its primary key, with values in one form whatever their type."""
    found = {}
    with closing(servers.connect("mariadb", url)) as connection:
        cursor = connection.cursor()
        cursor.execute("SET SESSION time_zone = '+00:00'")
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() "
                       "AND table_type = 'BASE TABLE'")  # fmt: skip
        for (table,) in cursor.fetchall():
            cursor.execute(f"SELECT * FROM `{table}`")
            names = [column[0] for column in cursor.description]
            found[table] = [{n: _plain(v) for n, v in zip(names, row, strict=True)} for row in cursor.fetchall()]
    return found


def _plain(value):
    if value is None:
        return None
    if isinstance(value, float | int) or hasattr(value, "as_tuple"):
        return f"{float(value):.9g}"
    text = re.sub(r"(\d\d:\d\d:\d\d)\.0+\Z", r"\1", str(value))
    return f"{float(text):.9g}" if re.fullmatch(r"-?\d+(\.\d+)?", text) else text
