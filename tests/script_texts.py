"""The text of migration scripts, without the lines that all of them share."""

from textwrap import dedent, indent


def script(body="pass", rollback=None, head=""):
    """Return a script whose ``migrate`` does ``body``; ``head`` stands above it."""
    text = f"import peewee as pw\n\n{dedent(head)}\n\n{_function('migrate', body)}"
    return text if rollback is None else f"{text}\n\n{_function('rollback', rollback)}"


def sql(*statements):
    """Return a script that executes these statements."""
    return script("\n".join(f"database.execute_sql({statement!r})" for statement in statements))


def creates(table, *columns):
    """Return a script that creates a table of text columns, and drops it again."""
    fields = "\n".join(f"    {column} = pw.TextField(null=True)" for column in columns or ("name",))
    body = f"@migrator.create_model\nclass Model(pw.Model):\n{fields}\n    class Meta:\n        table_name = {table!r}"
    return script(body, rollback=f"migrator.remove_model({table!r})")


def _function(name, body):
    return f"def {name}(migrator, database, *, fake=False):\n{indent(dedent(body).strip(), '    ')}\n"
