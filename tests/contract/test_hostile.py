"""Names are just names and rows are nobody's business: in SQL, errors, records and logs, on every engine."""

import json
import logging

import pytest
from script_texts import creates, script

from framework_schema.errors import MigrationFailed
from framework_schema.report import State

SECRET = "Sesame-4711"
PEOPLE = """
@migrator.create_model
class People(pw.Model):
    name = pw.CharField(max_length=12, unique=True)
    mail = pw.CharField(max_length=40, null=True, constraints=[pw.Check("mail <> 'never'")])
    class Meta:
        table_name = "people"
"""
BREAKS = {
    "a key that is there twice": f"migrator.sql(\"INSERT INTO people (name) VALUES ('{SECRET}'), ('{SECRET}')\")",
    "a model's row": "P = migrator.orm['people']\nfor _ in '12': P.insert(name=P.select(P.name).limit(1)).execute()",
    "a broken check": "migrator.sql(\"UPDATE people SET mail = 'never'\")",
    "a missing value": "migrator.sql('UPDATE people SET name = NULL')",
    "a cast": "migrator.sql('ALTER TABLE people ADD COLUMN n INTEGER')\n"
    "rows = migrator.orm['people'].select().tuples()\n[int(row[1]) for row in rows]",
    "a lookup": "{}[next(iter(migrator.orm['people'].select().tuples()))[1]]",
    "a rule that comes too late": "migrator.sql(\"INSERT INTO people (name, mail) VALUES ('x', '" + SECRET + "')\")\n"
    "migrator.sql(\"INSERT INTO people (name, mail) VALUES ('y', '" + SECRET + "')\")\n"
    "migrator.sql('CREATE UNIQUE INDEX one ON people (mail)')",
}


@pytest.mark.parametrize("how", BREAKS)
def test_no_content_of_a_row_is_in_an_error_a_record_or_a_log(engine, folder, caplog, how):
    source = folder({"001_people": script(PEOPLE)})
    engine.runner(source).migrate()
    engine.sql(f"INSERT INTO people (name, mail) VALUES ('{SECRET}', '{SECRET}')")
    folder({"002_breaks": script(BREAKS[how])})

    with caplog.at_level(logging.DEBUG), pytest.raises(MigrationFailed) as caught:
        engine.runner(source).migrate()

    runner = engine.runner(source)
    said = [str(caught.value), json.dumps(caught.value.report.as_dict(), default=str)]
    said += [repr(runner.history()), repr(runner.history(events=True)), repr(runner.status())]
    for text in said:
        assert SECRET not in text
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("framework_schema")]
    # A line of the script is code, and shown; what the driver or Python quotes is not.
    assert SECRET not in "\n".join(line for text in ours for line in text.splitlines() if "migrator.sql(" not in line)
    assert any("002_breaks.py" in text for text in ours)
    assert "002_breaks.py, line" in str(caught.value)


HOSTILE = [
    'we"ird',
    "o'clock",
    "a`b",
    "x; DROP TABLE keep; --",
    "%s",
    "50%",
    "a\nb",
    "a\x1b[31mred",
    "{brace}",
    "häß 表",
    "a\\b",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_just_a_name(engine, folder, name):
    if "%" in name and engine.name != "sqlite":
        pytest.skip(
            "Peewee hands a statement without values to the driver as a template: refused, see docs/security.md"
        )
    model = f"""
    @migrator.create_model
    class Model(pw.Model):
        first = pw.CharField(max_length=20, null=True, column_name={name!r})
        class Meta:
            table_name = {name!r}
    """
    later = f"""
    Model = migrator.orm[{name!r}]
    Model.insert(first="mine").execute()
    migrator.add_fields({name!r}, second=pw.CharField(max_length=20, null=True, column_name={name + "2"!r}))
    migrator.add_index({name!r}, "first")
    """
    scripts = {"001_keep": creates("keep"), "002_model": script(model, f"migrator.remove_model({name!r})")}
    source = folder(scripts | {"003_later": script(later, f"migrator.remove_fields({name!r}, 'second')")})

    report = engine.runner(source).migrate()

    assert report.state is State.MIGRATED and not report.left
    runner = engine.runner(source)
    with runner.target.connected() as database:
        tables = runner.dialect.snapshot(database, structural=True).tables
        found = next(table for table in tables.values() if table.name.lower() == name.lower())
        assert {column.name for column in found.columns.values()} == {"id", name, f"{name}2"}
    assert "keep" in tables
    assert not runner.drift(strict=True)
    assert runner.migrate(strict=True).state is State.CURRENT
    assert runner.rollback(steps=2).is_wanted
    assert runner.migrate().state is State.MIGRATED
    with runner.target.connected() as database:
        assert name in database.get_tables()
