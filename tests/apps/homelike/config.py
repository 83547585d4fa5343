"""Settings, as the framework's apps have them: a label that looks like a database, and the path of the real one."""

from pathlib import Path

ROOT = Path(__file__).parent


class Config:
    DATABASE = "template.db"
    DATABASE_PATH = str(ROOT / "data" / "template.db")
