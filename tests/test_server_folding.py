"""What a plan adds to its own new tables on MariaDB is made with them, and is the same in the end."""

from itertools import accumulate

import pytest
import servers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from framework_schema.server_folding import gathered
from framework_schema.watched import Statement

T = "CREATE TABLE `t` (`id` INTEGER NOT NULL PRIMARY KEY, `a` VARCHAR(9) DEFAULT '(')"
U = "CREATE TABLE `u` (`id` INTEGER NOT NULL PRIMARY KEY, `t_id` INTEGER, FOREIGN KEY (`t_id`) REFERENCES `t` (`id`))"
ADD = "ALTER TABLE `t` ADD COLUMN `b` INTEGER NOT NULL DEFAULT 7"
INDEX = "CREATE UNIQUE INDEX `t_b` ON `t` (`b`, `a`)"
PART = "UNIQUE INDEX `t_b` (`b`, `a`))"


def texts(*steps):
    return [[statement.sql for statement in step] for step in gathered([list(map(said, step)) for step in steps])]


def said(sql):
    return sql if isinstance(sql, Statement) else Statement(sql, asks=sql.startswith("SELECT"), converges=True)


def test_a_new_table_is_made_with_all_that_is_added_to_it():
    assert texts([T], [U], ["SELECT 1 FROM `t` LIMIT 1", ADD], [INDEX]) == [
        [f"{T[:-1]}, `b` INTEGER NOT NULL DEFAULT 7, UNIQUE INDEX `t_b` (`b`, `a`))"],
        [U],
        [],
        [],
    ]


def test_a_table_that_was_there_is_asked_and_altered_as_ever():
    steps = [[U], ["SELECT 1 FROM `t` LIMIT 1", ADD], [INDEX]]

    assert texts(*steps) == steps


@pytest.mark.parametrize(
    "odd",
    [
        "ALTER TABLE `t` ADD COLUMN `o` INTEGER FIRST",
        "ALTER TABLE `t` ADD COLUMN `o` INTEGER AFTER `id`",
        "ALTER TABLE `t` ADD COLUMN `o` INTEGER, ADD COLUMN `p` INTEGER",
        "ALTER TABLE `t` ADD COLUMN `o` INTEGER, ADD CONSTRAINT `k` FOREIGN KEY (`o`) REFERENCES `u` (`id`)",
        "ALTER TABLE `t` ADD COLUMN `o` INTEGER DEFAULT (1 + 1)",
        "ALTER TABLE `t` ADD COLUMN `o` VARCHAR(9) DEFAULT '\\''",
        "ALTER TABLE `t` ADD COLUMN `o` VARCHAR(9) DEFAULT '%%'",
        "ALTER TABLE `t` ADD COLUMN `o` INTEGER -- a remark",
        "CREATE INDEX `o` ON `t` (`a`(3))",
        "CREATE TABLE `o` LIKE `t`",
        Statement("SELECT 1 FROM `t` LIMIT 1", asks=True, answer=(1,)),
        Statement("ALTER TABLE `t` ADD COLUMN `o` INTEGER DEFAULT %s", params=(1,)),
    ],
)
def test_what_is_not_plain_stays_and_so_does_all_that_follows_about_its_table(odd):
    assert texts([T], [odd], [ADD, INDEX]) == [[T], [said(odd).sql], [ADD, INDEX]]


@pytest.mark.parametrize(
    "made",
    [
        "CREATE TABLE `t` (`id` INTEGER) COMMENT='(none)'",
        "CREATE TABLE `t` (`id` INTEGER) PARTITION BY HASH (`id`)",
        "CREATE TABLE `t` (`id` INTEGER) AS SELECT (1)",
        "CREATE TABLE `t` (`id` INTEGER # (\n)",
        "CREATE TABLE IF NOT EXISTS `t` (`id` INTEGER)",
        "CREATE TABLE t (`id` INTEGER)",
        "\nCREATE TABLE `t` (`id` INTEGER)\n",
    ],
)
def test_a_table_of_another_kind_of_text_stays_as_it_is(made):
    assert texts([made], [ADD]) == [[made], [ADD]]


def test_each_step_keeps_its_place():
    assert texts([T], [], [ADD, U], [INDEX]) == [[T[:-1] + ", `b` INTEGER NOT NULL DEFAULT 7, " + PART], [], [U], []]


TYPES = st.sampled_from(["INTEGER", "VARCHAR(40)", "DECIMAL(10, 5)", "DATETIME(6)", "BOOL", "TEXT", "BIGINT NOT NULL"])
DEFAULTS = st.sampled_from(["", "", " DEFAULT 1"])


@st.composite
def plans(draw):
    """Some tables, and columns, indexes and references that are added to them in some order."""
    columns, statements = {}, []
    for number in range(draw(st.integers(4, 14))):
        table = f"t{draw(st.integers(0, 3))}"
        if table not in columns:
            parents = sorted(columns)
            refers = draw(st.booleans()) and parents
            key = f", `up` INTEGER, FOREIGN KEY (`up`) REFERENCES `{parents[0]}` (`id`)" if refers else ""
            own = draw(st.sampled_from(["", ", INDEX `own` (`name`)", ", UNIQUE INDEX `own` (`name`)"]))
            statements.append(
                f"CREATE TABLE `{table}` (`id` INTEGER AUTO_INCREMENT PRIMARY KEY, `name` VARCHAR(9){key}{own})"
            )
            columns[table] = ["name", *(["up"] if refers else [])]
        elif draw(st.booleans()):
            kind = draw(TYPES)
            default = "" if "TEXT" in kind or "DATETIME" in kind else draw(DEFAULTS)
            place = draw(st.sampled_from(["", "", "", " FIRST", " AFTER `id`"]))
            statements.append(f"ALTER TABLE `{table}` ADD COLUMN `c{number}` {kind}{default}{place}")
            columns[table] += [f"c{number}"] * (kind != "TEXT")
        else:
            chosen = draw(st.lists(st.sampled_from(columns[table]), min_size=1, max_size=2, unique=True))
            unique = draw(st.sampled_from(["", "UNIQUE "]))
            listed = ", ".join(f"`{name}`" for name in chosen)
            statements.append(f"CREATE {unique}INDEX `i{number}` ON `{table}` ({listed})")
    return statements


def schema_after(statements):
    with servers.Fresh("mariadb") as fresh:
        servers.run("mariadb", fresh.url, *statements)
        tables = servers.run("mariadb", fresh.url, "SELECT table_name FROM information_schema.tables WHERE "
                             "table_schema = DATABASE() ORDER BY 1")  # fmt: skip
        return [servers.run("mariadb", fresh.url, f"SHOW CREATE TABLE `{name}`") for (name,) in tables]


@pytest.fixture(scope="module")
def mariadb():
    return servers.need("mariadb")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(statements=plans(), cuts=st.lists(st.integers(1, 4), min_size=4, max_size=14))
def test_what_is_gathered_makes_the_same_schema(mariadb, statements, cuts):
    ends = [0, *accumulate(cuts)]
    steps = [statements[a:b] for a, b in zip(ends, [*ends[1:], None], strict=True)]

    found = [text for step in texts(*steps) for text in step]

    assert len(found) <= len(statements)
    assert schema_after(found) == schema_after(statements)
