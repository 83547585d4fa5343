"""What ``--repair`` does with rows on servers: all of them are kept, and nothing else of a table changes."""

import pytest
import servers
from script_texts import script

from framework_schema.config import Config
from framework_schema.doctor import diagnose
from framework_schema.errors import PlanRefused
from framework_schema.report import State
from framework_schema.runner import Runner

SERVERS = pytest.mark.parametrize("name", ["postgresql", "mariadb"])


class Place:
    """A database with one table that an app of its own made."""

    def __init__(self, name, url):
        self.name, self.url = name, url

    def sql(self, *statements):
        return [tuple(row) for row in servers.run(self.name, self.url, *statements) or ()]

    def runner(self, source):
        return Runner(self.url, [source], config=Config(backup="never", timeout=20))

    def migrate(self, source):
        return self.runner(source).migrate(strict=True, repair=True)


@pytest.fixture
def place(name):
    with servers.Fresh(name) as fresh:
        yield Place(name, fresh.url)


def made(folder, table):
    return folder({"001_own": script(f"migrator.sql({table.replace('%', '%%')!r})")})


def loose(place, source, *statements):
    place.runner(source).migrate()
    return place.sql(*statements)


TREE = "CREATE TABLE node (id INT PRIMARY KEY, size INT NOT NULL{}, up INT NOT NULL, {}{})"
UP = "CONSTRAINT node_up FOREIGN KEY (up) REFERENCES node (id) ON DELETE CASCADE"


@SERVERS
def test_all_rows_below_one_that_moves_are_kept(place, folder):
    source = made(folder, TREE.format("", UP, ", CONSTRAINT node_size CHECK (size > 0)"))
    loose(
        place,
        source,
        "ALTER TABLE node DROP CONSTRAINT node_size",
        "INSERT INTO node VALUES (1, -1, 1), (2, 1, 1), (3, 1, 2), (4, 1, 3), (5, 1, 4), (9, 1, 9), (10, 1, 9)",
    )

    report = place.migrate(source)

    assert report.state is State.MIGRATED and not report.left
    assert place.sql("SELECT id FROM node ORDER BY id") == [(9,), (10,)]
    assert place.sql("SELECT id, up FROM node_set_aside ORDER BY id") == [(1, 1), (2, 1), (3, 2), (4, 3), (5, 4)]


FIRING = {
    "postgresql": (
        "CREATE TABLE told (what TEXT)",
        "CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO told VALUES ('x'); "
        "RETURN COALESCE(NEW, OLD); END $$",
        "CREATE TRIGGER a_tell BEFORE DELETE OR UPDATE ON page FOR EACH ROW EXECUTE FUNCTION tell()",
    ),
    "mariadb": (
        "CREATE TABLE told (what TEXT)",
        "CREATE TRIGGER a_tell BEFORE DELETE ON page FOR EACH ROW INSERT INTO told VALUES ('b')",
        "CREATE TRIGGER z_tell BEFORE UPDATE ON page FOR EACH ROW INSERT INTO told VALUES ('first')",
        "CREATE TRIGGER b_tell BEFORE UPDATE ON page FOR EACH ROW INSERT INTO told VALUES ('100%')",
    ),
}


def triggers(place):
    if place.name == "postgresql":
        return place.sql("SELECT tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1")
    return place.sql(
        "SELECT trigger_name, action_order, action_statement FROM information_schema.triggers "
        "WHERE trigger_schema = DATABASE() ORDER BY 1"
    )


@SERVERS
def test_rows_that_cannot_move_stay_and_so_do_the_triggers(place, folder):
    """A column that takes no such text makes the copy fail, after the triggers are off."""
    text = "CREATE TABLE page (id INT PRIMARY KEY, size INT NOT NULL, CONSTRAINT page_size CHECK (size > 0))"
    source = made(folder, text)
    columns = "id INT, size INT, set_aside_reason {}, set_aside_at TIMESTAMP NULL, set_aside_cleared TEXT"
    loose(
        place,
        source,
        "ALTER TABLE page DROP CONSTRAINT page_size",
        "INSERT INTO page VALUES (1, -1), (2, 2)",
        *FIRING[place.name],
        f"CREATE TABLE page_set_aside ({columns.format('VARCHAR(3)')})",
    )
    before = triggers(place)

    report = place.migrate(source)

    assert [item["rows"] for item in report.left] == [1]
    assert place.sql("SELECT id, size FROM page ORDER BY id") == [(1, -1), (2, 2)]
    assert place.sql("SELECT count(*) FROM page_set_aside") == [(0,)]
    assert triggers(place) == before
    place.sql("DROP TABLE page_set_aside")

    assert not place.migrate(source).left
    assert place.sql("SELECT id, size FROM page") == [(2, 2)]
    assert place.sql("SELECT count(*) FROM told") == [(0,)]
    assert triggers(place) == before


@SERVERS
def test_a_default_that_is_filled_in_fires_nothing_and_touches_nothing_else(place, folder):
    touched = "touched TIMESTAMP NULL"
    touched += " DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP" if place.name == "mariadb" else ""
    text = f"CREATE TABLE page (id INT PRIMARY KEY, share VARCHAR(9) NOT NULL DEFAULT '5%', {touched})"
    source = made(folder, text)
    null = {"postgresql": "ALTER share DROP NOT NULL", "mariadb": "MODIFY share VARCHAR(9) NULL DEFAULT '5%'"}
    loose(
        place,
        source,
        f"ALTER TABLE page {null[place.name]}",
        "INSERT INTO page VALUES (1, NULL, '2001-02-03 04:05:06')",
        *FIRING[place.name],
    )

    assert not place.migrate(source).left

    assert place.sql("SELECT share, CAST(touched AS CHAR(19)) FROM page") == [("5%", "2001-02-03 04:05:06")]
    assert place.sql("SELECT count(*) FROM told") == [(0,)]


@SERVERS
def test_a_reference_that_is_cleared_leaves_the_row_as_it_was(place, folder):
    touched = "touched TIMESTAMP NULL"
    touched += " DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP" if place.name == "mariadb" else ""
    key = "CONSTRAINT page_up FOREIGN KEY (up) REFERENCES page (id)"
    source = made(folder, f"CREATE TABLE page (id INT PRIMARY KEY, up INT NULL, {touched}, {key})")
    word = {"postgresql": "CONSTRAINT", "mariadb": "FOREIGN KEY"}[place.name]
    loose(
        place,
        source,
        f"ALTER TABLE page DROP {word} page_up",
        "INSERT INTO page VALUES (1, 77, '2001-02-03 04:05:06')",
        *FIRING[place.name],
    )

    assert not place.migrate(source).left

    assert place.sql("SELECT up, CAST(touched AS CHAR(19)) FROM page") == [(None, "2001-02-03 04:05:06")]
    assert place.sql("SELECT up FROM page_set_aside") == [(77,)]
    assert place.sql("SELECT count(*) FROM told") == [(0,)]


@SERVERS
def test_a_percent_sign_and_braces_mean_themselves(place, folder):
    quote = '"' if place.name == "postgresql" else "`"
    odd = f"{quote}in {{x}} %s{quote}"
    comment = " COMMENT 'in %'" if place.name == "mariadb" else ""
    text = (
        f"CREATE TABLE page (id INT PRIMARY KEY{comment}, mail VARCHAR(40) NOT NULL, {odd} INT NULL, "
        "CONSTRAINT page_mail CHECK (mail LIKE '%@%' AND mail <> '{row}'), "
        f"CONSTRAINT page_up FOREIGN KEY ({odd}) REFERENCES page (id))"
    )
    source = made(folder, text)
    word = {"postgresql": "CONSTRAINT", "mariadb": "FOREIGN KEY"}[place.name]
    loose(
        place,
        source,
        "ALTER TABLE page DROP CONSTRAINT page_mail",
        f"ALTER TABLE page DROP {word} page_up",
        "INSERT INTO page VALUES (1, 'a@b', NULL), (2, 'a', 1), (3, 'a@c', 99)",
    )
    assert sorted(item["rows"] for item in place.runner(source).migrate(strict=True).left) == [1, 1]

    assert not place.migrate(source).left

    assert place.sql(f"SELECT id, {odd} FROM page ORDER BY id") == [(1, None), (3, None)]
    place.sql("DROP TABLE page")
    place.runner(source).migrate()
    assert not place.runner(source).drift(strict=True)


@SERVERS
def test_a_check_that_names_its_table_in_a_text_is_repaired(place, folder):
    text = "CREATE TABLE kind (id INT PRIMARY KEY, kind VARCHAR(9), CONSTRAINT kind_kind CHECK (kind <> 'kind'))"
    source = made(folder, text)
    loose(
        place,
        source,
        "ALTER TABLE kind DROP CONSTRAINT kind_kind",
        "INSERT INTO kind VALUES (1, 'kind'), (2, 'other')",
    )

    assert not place.migrate(source).left

    assert place.sql("SELECT id FROM kind") == [(2,)]
    assert place.sql("SELECT id, kind FROM kind_set_aside") == [(1, "kind")]


@SERVERS
def test_what_is_set_aside_on_a_server_is_told_and_how_it_comes_back(place, folder):
    source = made(folder, "CREATE TABLE page (id INT PRIMARY KEY, size INT, CONSTRAINT page_size CHECK (size > 0))")
    loose(place, source, "ALTER TABLE page DROP CONSTRAINT page_size", "INSERT INTO page VALUES (1, -1), (2, -2)")
    assert place.runner(source).restore_rows() == ((), ())
    place.migrate(source)

    (told,) = [found for found in diagnose(place.runner(source)) if "set aside" in found.what]
    assert told.what.startswith("2 rows of page set aside in page_set_aside: ")
    assert "by SQL" in told.remedy
    with pytest.raises(PlanRefused, match=r"2 rows of page set aside in page_set_aside: .* by SQL"):
        place.runner(source).restore_rows()
    assert place.sql("SELECT count(*) FROM page_set_aside") == [(2,)]
