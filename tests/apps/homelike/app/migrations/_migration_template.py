"""Copy this file, and fill in what is in capitals."""

MIGRATION_NAME = "NAME_OF_THIS_FILE.py"


def migration_already_applied(cursor):
    raise NotImplementedError("copy this file first")


def apply_migration(cursor):
    raise NotImplementedError("copy this file first")
