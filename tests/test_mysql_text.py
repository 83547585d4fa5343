import pytest

from framework_schema.mysql_text import ColumnText, Definition

PRINTED = """CREATE TABLE `page` (
  `id` int(10) unsigned zerofill NOT NULL AUTO_INCREMENT,
  `kind` enum('int(11)','b,)c') DEFAULT 'int(11)' COMMENT 'it''s, \\\\ (x',
  `ts` timestamp NULL DEFAULT current_timestamp() ON UPDATE current_timestamp(),
  `inv` int(11) INVISIBLE DEFAULT 3,
  `b` varchar(10) CHARACTER SET latin1 COLLATE latin1_swedish_ci DEFAULT 'x' CHECK (`b` <> 'not null'),
  `c` longtext /*M!100301 COMPRESSED*/ DEFAULT NULL,
  `g` int(11) GENERATED ALWAYS AS (`inv` + 1) STORED,
  `v` int(11) DEFAULT NULL WITHOUT SYSTEM VERSIONING,
  PRIMARY KEY (`id`),
  UNIQUE KEY `uq` (`b`(3)),
  KEY `k` (`kind` DESC,`b`(3)) COMMENT 'k, k',
  CONSTRAINT `f` FOREIGN KEY (`v`) REFERENCES `other` (`id`) ON DELETE CASCADE
) ENGINE=InnoDB AUTO_INCREMENT=31 DEFAULT CHARSET=utf8mb4 COMMENT='AUTO_INCREMENT=31' WITH SYSTEM VERSIONING"""


@pytest.mark.parametrize("name", ["id", "kind", "ts", "inv", "b", "c", "g", "v"])
def test_a_column_taken_apart_and_put_together_is_what_was_printed(name):
    line = Definition.of(PRINTED).line(name)

    assert ColumnText.of(line).text == line


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("ts", lambda c: c.nullable(False), "DEFAULT current_timestamp() ON UPDATE current_timestamp()"),
        ("ts", lambda c: c.typed("datetime(6)", None), "`ts` datetime(6) NULL DEFAULT current_timestamp() ON UPDATE"),
        ("ts", lambda c: c.typed("longtext", "utf8mb4_bin"), "`ts` longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"),
        ("inv", lambda c: c.nullable(False), "`inv` int(11) NOT NULL DEFAULT 3 INVISIBLE"),
        ("c", lambda c: c.nullable(False), "`c` longtext /*M!100301 COMPRESSED*/ NOT NULL"),
        ("kind", lambda c: c.defaulting(None), "COMMENT 'it''s, \\\\ (x'"),
        ("b", lambda c: c.unchecked(), "`b` varchar(10) CHARACTER SET latin1 COLLATE latin1_swedish_ci DEFAULT 'x'"),
        ("b", lambda c: c.nullable(False), "CHECK (`b` <> 'not null')"),
        ("g", lambda c: c.nullable(False), "`g` int(11) GENERATED ALWAYS AS (`inv` + 1) STORED"),
        ("v", lambda c: c.nullable(False), "`v` int(11) NOT NULL WITHOUT SYSTEM VERSIONING"),
    ],
)
def test_a_change_of_one_thing_leaves_the_rest_as_printed(name, change, expected):
    assert expected in change(ColumnText.of(Definition.of(PRINTED).line(name))).text


def test_a_table_loses_its_counter_and_nothing_else():
    made = Definition.of(PRINTED).uncounted()

    assert " AUTO_INCREMENT=31 DEFAULT" not in made.sql
    assert made.sql.endswith("COMMENT='AUTO_INCREMENT=31' WITH SYSTEM VERSIONING")
    assert made.key("k") == "KEY `k` (`kind` DESC,`b`(3)) COMMENT 'k, k'"


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE child (id INT, mine INT UNSIGNED NOT NULL, FOREIGN KEY (mine) REFERENCES other(id))",
        "create table if not exists `child` (mine INT REFERENCES other (id) ON DELETE SET NULL CHECK (mine > 0))",
        "ALTER TABLE `child` ADD COLUMN `mine` INT, ADD CONSTRAINT x FOREIGN KEY (`mine`) REFERENCES `other` (`id`)",
    ],
)
def test_a_foreign_key_is_found_whichever_way_it_is_written(sql):
    (found,) = Definition.of(sql).references()

    assert (found.columns, found.table, found.to_columns) == (("mine",), "other", ("id",))
    assert Definition.of(sql).column("mine") is not None
    assert Definition.of(sql).sql.split() == sql.split()


@pytest.mark.parametrize("sql", ["CREATE TABLE a AS SELECT 1", "DROP TABLE a", "CREATE TABLE a LIKE b"])
def test_another_statement_is_left_alone(sql):
    assert Definition.of(sql) is None
