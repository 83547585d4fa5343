"""The app's own way to its database: plain sqlite3, and CREATE TABLE IF NOT EXISTS at every start."""

import logging
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path

from config import Config

logger = logging.getLogger(__name__)

TABLES = [
    """CREATE TABLE IF NOT EXISTS EntryType (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE NOT NULL, singular_label TEXT NOT NULL,
        plural_label TEXT NOT NULL, description TEXT, note_types TEXT DEFAULT 'General',
        is_primary INTEGER DEFAULT 0)""",
    """CREATE TABLE IF NOT EXISTS Entry (
        id INTEGER PRIMARY KEY AUTOINCREMENT, title TEXT NOT NULL, description TEXT, entry_type_id INTEGER NOT NULL,
        created_at TEXT NOT NULL, status TEXT DEFAULT "active",
        FOREIGN KEY (entry_type_id) REFERENCES EntryType(id) ON DELETE RESTRICT)""",
    """CREATE TABLE IF NOT EXISTS EntryState (
        id INTEGER PRIMARY KEY AUTOINCREMENT, entry_type_id INTEGER NOT NULL, name TEXT NOT NULL,
        category TEXT NOT NULL CHECK(category IN ('active', 'inactive')), color TEXT DEFAULT '#6c757d',
        UNIQUE(entry_type_id, name))""",
    """CREATE TABLE IF NOT EXISTS SystemParameters (parameter_name TEXT PRIMARY KEY, parameter_value TEXT)""",
    """CREATE TABLE IF NOT EXISTS Dashboard (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name VARCHAR(500) NOT NULL UNIQUE, description TEXT,
        layout_config TEXT)""",
    """CREATE TABLE IF NOT EXISTS SavedSearch (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name VARCHAR(500) NOT NULL UNIQUE, result_limit TEXT DEFAULT '50')""",
]
PARAMETERS = {"project_name": "My Awesome Project", "theme_color_scheme": "casaos"}


@contextmanager
def connect():
    """Open the database of DATABASE_PATH, commit at the end; foreign keys are not enforced, as SQLite has it."""
    path = Path(Config.DATABASE_PATH)
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
        yield connection


def init_db(app):
    """Make what is not there, insert default parameters where absent; what fails is logged, and the app starts."""
    for statement in TABLES:
        with connect() as connection:
            connection.execute(statement)
    try:
        with connect() as connection:
            connection.executemany("INSERT OR IGNORE INTO SystemParameters VALUES (?, ?)", PARAMETERS.items())
            connection.execute(
                "UPDATE SystemParameters SET parameter_value = 'casaos'"
                " WHERE parameter_name = 'theme_color_scheme' AND parameter_value = 'default'"
            )
    except sqlite3.OperationalError as error:  # a file with the parameters of July 2025
        logger.info("parameters: %s", error)


def system_parameters():
    with connect() as connection:
        return dict(connection.execute("SELECT parameter_name, parameter_value FROM SystemParameters"))
