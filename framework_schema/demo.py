"""The story in one command: seven misaligned databases, before and after."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from framework_schema.config import Config
from framework_schema.errors import ConfigError
from framework_schema.fleet import FleetReport, plan_tasks, run
from framework_schema.inventory import Member, read_targets
from framework_schema.sources import framework

MARKER = ".framework-schema-demo"
"""A file that says a folder is ours, so that it may be built anew."""

ROWS = 12

ENTRIES = """
CREATE TABLE EntryType (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    singular_label TEXT NOT NULL,
    plural_label TEXT not null,   -- shown in menus
    description TEXT,
    note_types TEXT DEFAULT 'General',
    is_primary INTEGER DEFAULT 0
);
CREATE TABLE Entry (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    title TEXT NOT NULL,
    description TEXT,
    entry_type_id INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    status TEXT DEFAULT "active",
    FOREIGN KEY (entry_type_id) REFERENCES EntryType(id) ON DELETE RESTRICT
);
CREATE TABLE SystemParameters (
    parameter_name TEXT PRIMARY KEY,
    parameter_value TEXT
);
"""
NOTES = """
CREATE TABLE Note (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    entry_id INTEGER NOT NULL,
    note_title TEXT,
    note_text TEXT NOT NULL,
    type TEXT DEFAULT 'General',
    created_at TEXT NOT NULL,
    FOREIGN KEY (entry_id) REFERENCES Entry(id) ON DELETE CASCADE
);
"""
DASHBOARDS = """
CREATE TABLE Dashboard (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    description TEXT,
    is_default INTEGER DEFAULT 0,
    layout_config TEXT DEFAULT '{"cols": 12, "rowHeight": 100}',
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);
CREATE TABLE DashboardWidget (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    dashboard_id INTEGER NOT NULL,
    widget_type TEXT NOT NULL,
    title TEXT NOT NULL,
    position_x INTEGER DEFAULT 0,
    position_y INTEGER DEFAULT 0,
    width INTEGER DEFAULT 4,
    height INTEGER DEFAULT 2,
    config TEXT DEFAULT '{}',
    data_source_type TEXT,
    data_source_id INTEGER,
    FOREIGN KEY (dashboard_id) REFERENCES Dashboard(id) ON DELETE CASCADE
);
INSERT INTO Dashboard (name, is_default) VALUES ('Overview', 1);
"""
HISTORY = """
CREATE TABLE schema_migrations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    migration_name TEXT UNIQUE NOT NULL,
    applied_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN DEFAULT TRUE,
    error_message TEXT,
    execution_time_ms INTEGER
);
INSERT INTO schema_migrations (migration_name, applied_at) VALUES
    ('add_dashboard_tables.py', '2025-11-22 09:14:03'),
    ('add_refresh_interval.py', '2025-11-22 09:14:03');
"""
"""Scripts on record that did nothing here: they changed one fixed file, whatever database recorded them."""


@dataclass(frozen=True, slots=True)
class Story:
    """One of the seven: its file, its past, and what its entries are about."""

    file: str
    past: str
    kind: str
    titles: tuple[str, ...]


STORIES = (
    Story("app.db", ENTRIES + NOTES + DASHBOARDS, "Project", ("Website", "Newsletter", "Spring cleaning")),
    Story("template.db", ENTRIES + NOTES + DASHBOARDS + HISTORY, "Item", ("First item", "Second item")),
    Story("homebrew.db", ENTRIES + NOTES + HISTORY, "Brew", ("Porter No. 4", "Märzen", "Dry stout")),
    Story("tracker.db", ENTRIES + HISTORY, "Parcel", ("Bicycle pump", "Seed potatoes")),
    Story("entries.db", ENTRIES + NOTES, "Entry", ("Beehive", "Workshop roof", "Piano")),
    Story("lifestack.db", ENTRIES + NOTES + HISTORY, "Habit", ("Running", "Reading", "Piano practice")),
    Story("database.db", ENTRIES, "Board", ("Sensor board rev. B", "Power supply")),
)


@dataclass(frozen=True, slots=True)
class Look:
    """How one database stands in the eyes of a user: can dashboards be used, and how many rows are there."""

    name: str
    has_dashboards: bool
    tables: int
    rows: int
    widget: str
    """What became of the attempt to add a widget: ``ok``, or SQLite's complaint."""


@dataclass(frozen=True, slots=True)
class Demo:
    """The whole story, as values."""

    folder: Path
    before: tuple[Look, ...]
    fleet: FleetReport
    after: tuple[Look, ...]

    @property
    def is_proven(self) -> bool:
        """True when every database takes a widget and kept its rows."""
        kept = all(was.rows <= now.rows for was, now in zip(self.before, self.after, strict=True))
        return kept and all(look.widget == "ok" for look in self.after)


def play(folder: Path) -> Demo:
    """Build the seven databases in ``folder``, look, migrate them all, and look again.

    Raises ``ConfigError`` for a folder that holds something else.
    """
    files = build(folder)
    before = tuple(map(inspect, files))
    tasks = plan_tasks("migrate", _members(folder, files), [framework()], Config())
    fleet = run(tasks, jobs=1)
    return Demo(folder, before, fleet, tuple(map(inspect, files)))


def build(folder: Path) -> list[Path]:
    """Write the seven databases, in place of those of an earlier demo."""
    if folder.exists() and not (folder / MARKER).exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{folder}: this is not a folder of an earlier demo. Nothing was written. "
            "Name another one: framework-schema demo --directory NAME"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("Made by `framework-schema demo`, which may overwrite the seven databases here.\n")
    files = [folder / story.file for story in STORIES]
    for story, file in zip(STORIES, files, strict=True):
        for end in ("", "-wal", "-shm", "-journal"):
            Path(f"{file}{end}").unlink(missing_ok=True)
        _write(story, file)
    return files


def inspect(file: Path) -> Look:
    """Look at one database, and try to add a dashboard with a widget; the attempt is rolled back."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        names = [
            name
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
            )
        ]
        rows = sum(connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names)
        return Look(file.name, "Dashboard" in names, len(names), rows, _try_widget(connection))


def _try_widget(connection: sqlite3.Connection) -> str:
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("BEGIN")
    try:
        dashboard = connection.execute("INSERT INTO Dashboard (name) VALUES ('Demo of a dashboard')").lastrowid
        connection.execute(
            "INSERT INTO DashboardWidget (dashboard_id, widget_type, title, refresh_interval) VALUES (?, ?, ?, ?)",
            (dashboard, "entry_count", "All entries", 300),
        )
    except sqlite3.Error as error:
        return str(error).replace("table DashboardWidget has no column named", "no such column:")
    else:
        return "ok"
    finally:
        connection.execute("ROLLBACK")


def _members(folder: Path, files: Sequence[Path]) -> Iterator[Member]:
    for member in read_targets([folder]).members:
        if member.path in files:
            yield member


def _write(story: Story, file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executescript(story.past)
        connection.execute(
            "INSERT INTO EntryType (name, singular_label, plural_label, is_primary) VALUES (?, ?, ?, 1)",
            (story.kind, story.kind, f"{story.kind}s"),
        )
        for number in range(ROWS):
            title = f"{story.titles[number % len(story.titles)]} ({number + 1})"
            entry = connection.execute(
                "INSERT INTO Entry (title, entry_type_id, created_at) VALUES (?, 1, ?)",
                (title, f"2025-{1 + number % 12:02}-11T10:00:00"),
            ).lastrowid
            if NOTES in story.past:
                connection.execute(
                    "INSERT INTO Note (entry_id, note_text, created_at) VALUES (?, ?, ?)",
                    (entry, f"A note on {title}.", f"2025-{1 + number % 12:02}-12T18:30:00"),
                )
        connection.execute("INSERT INTO SystemParameters VALUES ('project_name', ?)", (f"My {story.kind}s",))
