"""What a snapshot does not model: carried as MariaDB prints it, compared where it is expected, and put back."""

import pytest
import servers
from script_texts import script

from framework_schema.config import Config
from framework_schema.rehearsal import rehearse
from framework_schema.report import State
from framework_schema.runner import Runner

EVERYTHING = r"""
migrator.sql("CREATE SEQUENCE bill_no START WITH 100")
migrator.sql('''CREATE TABLE page (
    id INT UNSIGNED ZEROFILL AUTO_INCREMENT PRIMARY KEY,
    no BIGINT NOT NULL DEFAULT NEXTVAL(bill_no),
    kind ENUM('int(11)', 'b,)c') NULL DEFAULT 'int(11)' COMMENT 'it''s, (x',
    touched TIMESTAMP NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
    hidden INT INVISIBLE DEFAULT 3,
    name VARCHAR(80) CHARACTER SET latin1 DEFAULT 'C:\\\\temp' CHECK (name <> 'int(11)'),
    body LONGTEXT COMPRESSED,
    twice INT GENERATED ALWAYS AS (hidden * 2) STORED,
    spot POINT NOT NULL,
    note TEXT DEFAULT (UPPER('x')),
    SPATIAL KEY page_spot (spot),
    UNIQUE KEY page_name (name(5), kind),
    KEY page_kind (kind DESC, note(10)) COMMENT 'by its beginning',
    FULLTEXT KEY page_note (note)
) ROW_FORMAT=DYNAMIC COMMENT='pages, of all kinds' ''')
migrator.sql(r'''CREATE TRIGGER page_b BEFORE INSERT ON page FOR EACH ROW
    BEGIN DECLARE d INT DEFAULT 0; IF NEW.hidden > 0 THEN SET NEW.note = 'C:\\temp\\new'; END IF; END''')
"""


class Place:
    def __init__(self, url):
        self.url = url

    def sql(self, *statements):
        return servers.run("mariadb", self.url, *statements)

    def shown(self, what="TABLE page"):
        return self.sql(f"SHOW CREATE {what}")[0]

    def runner(self, source):
        return Runner(self.url, [source], config=Config(backup="never", timeout=20))


@pytest.fixture
def place():
    with servers.Fresh("mariadb") as fresh:
        yield Place(fresh.url)


def test_a_table_that_was_lost_comes_back_as_it_was_printed(place, folder):
    source = folder({"001_page": script(EVERYTHING)})
    place.runner(source).migrate()
    table, trigger = place.shown(), place.shown("TRIGGER page_b")[2]
    place.sql("DROP TABLE page")

    place.runner(source).migrate()

    assert place.shown() == table
    assert place.shown("TRIGGER page_b")[2] == trigger
    assert not place.runner(source).drift(strict=True)


@pytest.mark.parametrize("column", ["kind", "touched", "hidden", "name", "body", "note"])
def test_not_null_changes_nothing_else_of_a_column(place, folder, column):
    source = folder({"001_page": script(EVERYTHING), "002_null": script(f"migrator.add_not_null('page', {column!r})")})
    place.runner(source).migrate(to="app/001_page")
    before = place.shown()[1].splitlines()

    place.runner(source).migrate()

    after = place.shown()[1].splitlines()
    (changed,) = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    words = [set(line.replace(",", " ").split()) - {"NOT", "NULL", "DEFAULT", "''"} for line in changed]
    assert words[0] == words[1]
    assert " NOT NULL" in changed[1]


def test_strict_gives_back_what_a_column_lost_and_keeps_what_it_gained(place, folder):
    source = folder({"001_page": script(EVERYTHING)})
    place.runner(source).migrate()
    table = place.shown()
    place.sql(
        "ALTER TABLE page MODIFY touched DATETIME NULL, MODIFY hidden INT DEFAULT 4, ENGINE=Aria, "
        "MODIFY name VARCHAR(80) CHARACTER SET latin1 NOT NULL DEFAULT 'y' COMMENT 'mine' CHECK (name <> 'int(11)')",
    )

    report = place.runner(source).migrate(strict=True)

    assert report.state is State.MIGRATED and not report.left
    assert not place.runner(source).drift(strict=True)
    found = place.shown()[1]
    assert "COMMENT 'mine'" in found  # a remark is nobody's drift
    assert found.replace(" COMMENT 'mine'", "") == table[1]
    assert place.runner(source).migrate(strict=True).state is State.CURRENT


def test_a_lost_trigger_does_the_same_when_it_is_back(place, folder):
    source = folder({"001_page": script(EVERYTHING)})
    place.runner(source).migrate()
    shown = place.shown("TRIGGER page_b")
    place.sql("DROP TRIGGER page_b")

    report = place.runner(source).migrate()

    assert report.aligned == ("trigger page_b",)
    assert place.shown("TRIGGER page_b")[:5] == shown[:5]
    assert not place.runner(source).drift(strict=True)


def test_a_trigger_of_another_mode_is_rehearsed_in_it_and_left_alone(place, folder):
    source = folder({"001_page": script(EVERYTHING), "002_more": script("migrator.sql('CREATE TABLE more (id INT)')")})
    place.runner(source).migrate(to="app/001_page")
    place.sql(
        "SET SESSION sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'",
        r"""CREATE TRIGGER "mine" BEFORE UPDATE ON "page" FOR EACH ROW SET NEW."note" = 'C:\'""",
    )
    shown = place.shown("TRIGGER mine")

    assert rehearse(place.runner(source)).applied == ["app/002_more"]
    place.runner(source).migrate(strict=True)

    assert place.shown("TRIGGER mine") == shown


def test_a_table_with_a_history_of_its_rows_is_there_and_stays_so(place, folder):
    text = "migrator.sql('CREATE TABLE price (id INT PRIMARY KEY, amount INT NOT NULL DEFAULT 7)')"
    source = folder({"001_price": script(text), "002_other": script("migrator.sql('CREATE TABLE other (id INT)')")})
    place.runner(source).migrate()
    place.sql(
        "ALTER TABLE price ADD SYSTEM VERSIONING",
        "INSERT INTO price VALUES (1, 5)",
        "UPDATE price SET amount = 6",
        "SET SESSION system_versioning_alter_history = KEEP",
        "ALTER TABLE price MODIFY amount BIGINT",
        "DROP TABLE other",
    )

    assert place.runner(source).migrate().aligned == ("table other",)
    assert place.runner(source).migrate(strict=True).state is State.MIGRATED

    assert "`amount` int(11) NOT NULL DEFAULT 7" in place.shown("TABLE price")[1]
    assert place.sql("SELECT amount FROM price FOR SYSTEM_TIME ALL ORDER BY amount") == ((5,), (6,))


@pytest.mark.parametrize("unique", [False, True])
def test_an_index_whose_name_has_64_characters_converges(place, folder, unique):
    name = "i" * 64
    made = f"index({name!r}, 'shelf', 'row', unique={unique}, where='row > 1')"
    text = script(
        "@migrator.create_model\nclass Shelf(pw.Model):\n    row = pw.IntegerField(null=True)\n"
        f"    class Meta:\n        table_name = 'shelf'\n        indexes = [{made}]",
        head="from framework_schema.fields import index",
    )
    source = folder({"001_shelf": text})
    place.runner(source).migrate()
    shown = place.shown("TABLE shelf")
    assert not place.runner(source).drift(strict=True)
    place.sql(f"ALTER TABLE shelf DROP INDEX {name}")

    place.runner(source).migrate()

    assert not place.runner(source).drift(strict=True)
    assert place.shown("TABLE shelf") == shown
    assert place.runner(source).migrate(strict=True).state is State.CURRENT
