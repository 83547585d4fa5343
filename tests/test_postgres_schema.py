"""What PostgreSQL can print is asked for: what is lost comes back as it was made, what stands on a column stays."""

import pytest
import servers
from script_texts import creates, sql

from framework_schema.config import Config
from framework_schema.rehearsal import rehearse
from framework_schema.report import State
from framework_schema.runner import Runner


@pytest.fixture
def fresh():
    with servers.Fresh("postgresql") as fresh:
        yield fresh


def runner_of(fresh, source):
    return Runner(fresh.url, [source], config=Config(backup="never", timeout=20))


def run(fresh, *statements):
    return servers.run("postgresql", fresh.url, *statements)


def facts(fresh):
    """All that PostgreSQL prints of the schema, but who owns it."""
    return {
        kind: run(fresh, query)
        for kind, query in {
            "columns": "SELECT c.relname, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, "
            "attgenerated,"
            " pg_get_expr(adbin, adrelid), col_description(c.oid, attnum), attstorage::text FROM pg_attribute a"
            " JOIN pg_class c ON c.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
            " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND attnum > 0 AND NOT attisdropped"
            " AND relname !~ '^schema_' ORDER BY 1, attname",
            "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
            "indexes": "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
            "triggers": "SELECT pg_get_triggerdef(oid), tgenabled::text FROM pg_trigger WHERE NOT tgisinternal "
            "ORDER BY 1",
            "functions": "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
            " AND NOT EXISTS (SELECT 1 FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e') ORDER BY 1",
            "policies": "SELECT * FROM pg_policies ORDER BY 1, 2, 3",
            "rules": "SELECT schemaname, tablename, definition FROM pg_rules WHERE schemaname = 'public' ORDER BY 1, 2",
            "statistics": "SELECT pg_get_statisticsobjdef(oid) FROM pg_statistic_ext ORDER BY 1",
            "tables": "SELECT relname, relkind::text, relpersistence::text, relrowsecurity, relforcerowsecurity, "
            "reloptions,"
            " relreplident::text, pg_get_partkeydef(oid), pg_get_expr(relpartbound, oid), relacl::text,"
            " obj_description(oid, 'pg_class') FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " AND relkind IN ('r', 'p', 'v', 'm') ORDER BY 1",
            "types": "SELECT typname, typtype::text, typnotnull, ARRAY(SELECT enumlabel::text FROM pg_enum"
            " WHERE enumtypid = t.oid ORDER BY enumsortorder) FROM pg_type t"
            " WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd') ORDER BY 1",
        }.items()
    }


LOST = {
    "an index with an operator class": (
        ["CREATE TABLE good (id integer PRIMARY KEY, name text)",
         "CREATE INDEX good_like ON good (name text_pattern_ops)"],
        ["DROP INDEX good_like"],
    ),
    "an index with INCLUDE and fillfactor": (
        ["CREATE TABLE good (id integer PRIMARY KEY, code text, price integer)",
         "CREATE UNIQUE INDEX good_one ON good (code) INCLUDE (price) WITH (fillfactor = 70)"],
        ["DROP INDEX good_one"],
    ),
    "NULLS NOT DISTINCT": (
        ["CREATE TABLE good (id integer PRIMARY KEY, code text)",
         "CREATE UNIQUE INDEX good_one ON good (code) NULLS NOT DISTINCT"],
        ["DROP INDEX good_one", "INSERT INTO good VALUES (1, 'a'), (2, NULL)"],
    ),
    "NULLS LAST and COLLATE": (
        ["CREATE TABLE good (id integer PRIMARY KEY, code text, n integer)",
         'CREATE INDEX good_sort ON good (n DESC NULLS LAST, code COLLATE "C")'],
        ["DROP INDEX good_sort"],
    ),
    "a partial unique of an expression": (
        ["CREATE TABLE login (id integer PRIMARY KEY, mail text, gone boolean DEFAULT false)",
         "CREATE UNIQUE INDEX login_mail ON login (lower(mail)) WHERE NOT gone"],
        ["DROP INDEX login_mail", "INSERT INTO login VALUES (1, 'a', false), (2, 'A', true), (3, NULL, false)"],
    ),
    "an index of another method": (
        ["CREATE TABLE doc (id integer PRIMARY KEY, body jsonb)", "CREATE INDEX doc_gin ON doc USING gin (body "
         "jsonb_path_ops)"],
        ["DROP INDEX doc_gin"],
    ),
    "a name of 63 bytes": (
        ["CREATE TABLE wide (id integer PRIMARY KEY, a text)", f"CREATE INDEX {'i' * 70} ON wide (a)"],
        [f"DROP INDEX {'i' * 63}"],
    ),
    "a table with all kinds of keys": (
        ["CREATE EXTENSION IF NOT EXISTS btree_gist",
         "CREATE TABLE room (id integer PRIMARY KEY)",
         "CREATE TABLE booking (id bigint GENERATED ALWAYS AS IDENTITY (START WITH 100 INCREMENT BY 5) PRIMARY KEY,"
         " room integer CONSTRAINT to_room REFERENCES room (id) MATCH FULL ON DELETE CASCADE DEFERRABLE "
         "INITIALLY DEFERRED,"
         " during tsrange NOT NULL, place integer, CONSTRAINT place_once UNIQUE (place) DEFERRABLE,"
         " CONSTRAINT ok CHECK (place > 0) NO INHERIT, CONSTRAINT not_twice EXCLUDE USING gist (room WITH =, "
         "during WITH &&))"],
        ["DROP TABLE booking"],
    ),
    "a deferrable key and a serial beside it": (
        ["CREATE TABLE step (id integer, n serial, CONSTRAINT step_key PRIMARY KEY (id) DEFERRABLE)"],
        ["ALTER TABLE step DROP CONSTRAINT step_key"],
    ),
    "a constraint that excludes": (
        ["CREATE TABLE span (id integer PRIMARY KEY, during tsrange, CONSTRAINT apart EXCLUDE USING gist (during "
         "WITH &&))"],
        ["ALTER TABLE span DROP CONSTRAINT apart"],
    ),
    "a table with an enum, a domain and computed columns": (
        ["CREATE TYPE mood AS ENUM ('sad', 'it''s fine')", "CREATE DOMAIN small AS integer NOT NULL DEFAULT 3 "
         "CHECK (VALUE < 9)",
         "CREATE TABLE person (id integer PRIMARY KEY, mood mood DEFAULT 'sad', n small,"
         " twice integer GENERATED ALWAYS AS (id * 2) STORED)"],
        ["DROP TABLE person", "DROP TYPE mood", "DROP DOMAIN small"],
    ),
    "a table with row security and its comments": (
        ["CREATE TABLE secret (id integer PRIMARY KEY, owner text)", "ALTER TABLE secret ENABLE ROW LEVEL SECURITY",
         "ALTER TABLE secret FORCE ROW LEVEL SECURITY",
         "CREATE POLICY mine ON secret AS RESTRICTIVE FOR UPDATE USING (owner = CURRENT_USER) WITH CHECK (id > 0)",
         "CREATE POLICY own ON secret USING (owner = CURRENT_USER)",
         "COMMENT ON TABLE secret IS 'it''s ours'", "COMMENT ON COLUMN secret.owner IS 'who'",
         "GRANT SELECT, INSERT ON secret TO PUBLIC", "GRANT UPDATE (owner) ON secret TO PUBLIC"],
        ["DROP TABLE secret"],
    ),
    "a policy": (
        ["CREATE TABLE secret (id integer PRIMARY KEY, owner text)", "ALTER TABLE secret ENABLE ROW LEVEL SECURITY",
         "CREATE POLICY own ON secret FOR SELECT USING (owner = CURRENT_USER)"],
        ["DROP POLICY own ON secret"],
    ),
    "a table with partitions": (
        ["CREATE TABLE sample (id bigint, at date NOT NULL, v text) PARTITION BY RANGE (at)",
         "CREATE INDEX sample_v ON sample (v)",
         "CREATE TABLE sample_25 PARTITION OF sample FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')",
         "CREATE TABLE sample_26 PARTITION OF sample FOR VALUES FROM ('2026-01-01') TO ('2027-01-01') PARTITION "
         "BY LIST (v)",
         "CREATE TABLE sample_26a PARTITION OF sample_26 FOR VALUES IN ('a', NULL)",
         "CREATE TABLE sample_rest PARTITION OF sample DEFAULT"],
        ["DROP TABLE sample"],
    ),
    "a partition": (
        ["CREATE TABLE sample (id bigint, at date NOT NULL) PARTITION BY RANGE (at)",
         "CREATE TABLE sample_25 PARTITION OF sample FOR VALUES FROM ('2025-01-01') TO ('2026-01-01')"],
        ["DROP TABLE sample_25"],
    ),
    "an unlogged table with options, rule, statistics and a shared sequence": (
        ["CREATE SEQUENCE number START 5", "CREATE TABLE one (id integer PRIMARY KEY DEFAULT nextval('number'))",
         "CREATE UNLOGGED TABLE two (id integer PRIMARY KEY DEFAULT nextval('number'), a text, b text)"
         " WITH (fillfactor = 50, autovacuum_enabled = false)",
         "ALTER TABLE two ALTER a SET STORAGE EXTERNAL", "ALTER TABLE two REPLICA IDENTITY FULL",
         "CREATE RULE never AS ON DELETE TO two DO INSTEAD NOTHING", "CREATE STATISTICS both_of ON a, b FROM two"],
        ["DROP TABLE two"],
    ),
    "a trigger with its rights, state and comment": (
        ["CREATE TABLE ledger (id integer PRIMARY KEY, at timestamptz)",
         "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS"
         " $$ BEGIN NEW.at = now(); RETURN NEW; END $$",
         "CREATE TRIGGER ledger_stamp BEFORE INSERT OR UPDATE OF at ON ledger FOR EACH ROW WHEN (NEW.id > 0)"
         " EXECUTE FUNCTION stamp()",
         "ALTER TABLE ledger ENABLE ALWAYS TRIGGER ledger_stamp", "COMMENT ON TRIGGER ledger_stamp ON ledger IS "
         "'it''s late'"],
        ["DROP TRIGGER ledger_stamp ON ledger"],
    ),
    "a trigger and the function that it calls": (
        ["CREATE TABLE ledger (id integer PRIMARY KEY, at timestamptz)",
         "CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS"
         " $$ BEGIN NEW.at = now(); RETURN NEW; END $$",
         "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON ledger DEFERRABLE FOR EACH ROW EXECUTE FUNCTION stamp()"],
        ["DROP FUNCTION stamp() CASCADE"],
    ),
    "a view with options and a comment": (
        ["CREATE TABLE bill (id integer PRIMARY KEY, sum integer)",
         "CREATE VIEW big WITH (security_barrier = true) AS SELECT id, sum FROM bill WHERE sum > 9 WITH LOCAL "
         "CHECK OPTION",
         "CREATE MATERIALIZED VIEW total AS SELECT sum(sum) AS s FROM bill", "CREATE UNIQUE INDEX total_s ON total (s)",
         "COMMENT ON VIEW big IS 'large'"],
        ["DROP VIEW big", "DROP MATERIALIZED VIEW total"],
    ),
    "a function": (
        ["CREATE FUNCTION add(a integer, b integer DEFAULT 1) RETURNS integer LANGUAGE sql IMMUTABLE STRICT"
         " AS $$ SELECT a + b $$"],
        ["DROP FUNCTION add"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", LOST)
def test_what_is_lost_comes_back_as_it_was_made(fresh, folder, what):
    statements, losses = LOST[what]
    source = folder({"001_shop": sql(*statements)})
    assert runner_of(fresh, source).migrate().state is State.MIGRATED
    before = facts(fresh)
    run(fresh, *losses)
    assert facts(fresh) != before
    assert runner_of(fresh, source).drift(strict=True)

    strict = "deferrable key" in what
    report = runner_of(fresh, source).migrate(strict=strict)

    assert report.left == ()
    assert facts(fresh) == before
    assert not runner_of(fresh, source).drift(strict=True)
    assert runner_of(fresh, source).migrate(strict=True).state is State.CURRENT


WEAKER = {
    "a column that no longer counts always": (
        ["CREATE TABLE t (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY)"],
        ["ALTER TABLE t ALTER id SET GENERATED BY DEFAULT"],
    ),
    "a column that counts always and should not": (
        ["CREATE TABLE t (id serial PRIMARY KEY)"],
        ["ALTER TABLE t ALTER id DROP DEFAULT", "ALTER TABLE t ALTER id ADD GENERATED ALWAYS AS IDENTITY"],
    ),
    "an index of another operator class": (
        ["CREATE TABLE t (id integer PRIMARY KEY, a text)", "CREATE INDEX t_a ON t (a text_pattern_ops)"],
        ["DROP INDEX t_a", "CREATE INDEX t_a ON t (a)"],
    ),
    "a reference that cannot wait": (
        ["CREATE TABLE p (id integer PRIMARY KEY)",
         "CREATE TABLE t (id integer PRIMARY KEY, p integer REFERENCES p DEFERRABLE INITIALLY DEFERRED)"],
        ["ALTER TABLE t ALTER CONSTRAINT t_p_fkey NOT DEFERRABLE"],
    ),
    "an unlogged table": (["CREATE TABLE t (id integer PRIMARY KEY)"], ["ALTER TABLE t SET UNLOGGED"]),
    "row security that is off": (
        ["CREATE TABLE t (id integer PRIMARY KEY)", "ALTER TABLE t ENABLE ROW LEVEL SECURITY"],
        ["ALTER TABLE t DISABLE ROW LEVEL SECURITY"],
    ),
    "a policy that says something else": (
        ["CREATE TABLE t (id integer PRIMARY KEY)", "CREATE POLICY own ON t USING (id > 5)"],
        ["ALTER POLICY own ON t USING (true)"],
    ),
    "a trigger that is off": (
        ["CREATE TABLE t (id integer PRIMARY KEY)",
         "CREATE TRIGGER once BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"],
        ["ALTER TABLE t DISABLE TRIGGER once"],
    ),
    "a function without its rights": (
        ["CREATE TABLE t (id integer PRIMARY KEY)",
         "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog"
         " AS $$ BEGIN RETURN NEW; END $$",
         "CREATE TRIGGER once BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()"],
        ["ALTER FUNCTION f() SECURITY INVOKER RESET search_path"],
    ),
    "a constraint that nobody asked for": (
        ["CREATE TABLE t (id integer PRIMARY KEY, during tsrange)"],
        ["ALTER TABLE t ADD CONSTRAINT apart EXCLUDE USING gist (during WITH &&)"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WEAKER)
def test_what_differs_is_told_of_and_mended_under_strict(fresh, folder, what):
    statements, changes = WEAKER[what]
    source = folder({"001_shop": sql(*statements)})
    runner_of(fresh, source).migrate()
    digest = runner_of(fresh, source).drift(strict=True).digest
    run(fresh, *changes)
    drift = runner_of(fresh, source).drift(strict=True)
    assert drift.structural and drift.digest != digest

    report = runner_of(fresh, source).migrate(strict=True)

    assert report.left == ()
    drift = runner_of(fresh, source).drift(strict=True)
    assert not drift and drift.digest == digest


def test_a_column_that_is_made_to_count_goes_on_from_its_highest_number(fresh, folder):
    source = folder({"001_a": sql("CREATE TABLE IF NOT EXISTS t (id serial PRIMARY KEY, a text)")})
    run(fresh, "CREATE TABLE t (id integer PRIMARY KEY, a text)", "INSERT INTO t VALUES (7, 'x')")

    runner_of(fresh, source).migrate(strict=True)

    assert run(fresh, "INSERT INTO t (a) VALUES ('y') RETURNING id") == [(8,)]


def test_ids_that_a_mover_brought_without_a_counter_count(fresh, folder):
    """The history's own and a model's: else no row could be written, not even that a script ran."""
    run(
        fresh,
        "CREATE TABLE schema_migrations (id bigint PRIMARY KEY, migration_name text, applied_at timestamp)",
        "INSERT INTO schema_migrations VALUES (4, 'add_dashboard_tables.py', now())",
        'CREATE TABLE "A" (id bigint PRIMARY KEY, name text)', "INSERT INTO \"A\" VALUES (7, 'x')",
    )  # fmt: skip

    assert runner_of(fresh, folder({"001_a": creates("A")})).migrate().state is State.MIGRATED

    assert run(fresh, "INSERT INTO \"A\" (name) VALUES ('y') RETURNING id") == [(8,)]
    assert run(fresh, "SELECT id, migration_name FROM schema_migrations ORDER BY 1")[:2] == [
        (4, "add_dashboard_tables.py"), (5, "app/001_a"),
    ]  # fmt: skip


# Types of extensions


def test_a_script_may_use_a_type_that_an_extension_has_in_public(fresh, folder):
    run(fresh, "CREATE EXTENSION citext", "CREATE EXTENSION pg_trgm")
    scripts = {
        "001_member": sql(
            "CREATE TABLE member (id integer PRIMARY KEY, mail citext NOT NULL UNIQUE, age integer)",
            "CREATE INDEX member_like ON member USING gin (mail gin_trgm_ops)",
        )
    }
    source = folder(scripts)
    runner_of(fresh, source).migrate()
    assert not runner_of(fresh, source).drift(strict=True)
    run(fresh, "ALTER TABLE member DROP COLUMN age", "DROP INDEX member_like")

    report = runner_of(fresh, source).migrate(strict=True)

    assert set(report.aligned) == {"column member.age", "index member_like"}
    assert not runner_of(fresh, source).drift(strict=True)


def test_a_script_that_reaches_for_a_live_table_is_not_tried_there(fresh, folder):
    """Whatever it finds in the scratch, with the search_path or with a schema's name, it changes no live table."""
    run(fresh, "CREATE EXTENSION citext", "CREATE TABLE live (id integer)")
    source = folder({"001_a": creates("A"), "002_b": sql("CREATE TABLE b (x citext)", "ALTER TABLE live ADD y citext")})

    runner_of(fresh, source).drift()

    assert run(fresh, "SELECT count(*) FROM pg_attribute WHERE attrelid = 'live'::regclass AND attnum > 0") == [(1,)]
    locks = "SELECT count(*) FROM pg_locks WHERE relation = 'live'::regclass"
    assert run(fresh, locks) == [(0,)]


# What stands on a column whose type changes

TABLES = (
    "CREATE TABLE bill (id integer PRIMARY KEY, sum bigint, who text)",
    "CREATE TABLE other (id integer PRIMARY KEY, n integer NOT NULL)",
)
AGED = ("ALTER TABLE bill ALTER sum TYPE integer", "ALTER TABLE other ALTER n DROP NOT NULL")

STANDING = {
    "view": ("CREATE VIEW big AS SELECT id, sum FROM bill WHERE sum > 9",),
    "a view on a view, with grants, comments, a default and another owner": (
        "CREATE ROLE fs_reader", "CREATE ROLE fs_owner", "GRANT fs_owner TO CURRENT_USER",
        "CREATE VIEW big WITH (security_barrier = true) AS SELECT id, sum FROM bill WHERE sum > 9",
        "CREATE VIEW bigger AS SELECT id AS i, sum AS s FROM big WHERE sum > 99",
        "ALTER VIEW big ALTER COLUMN id SET DEFAULT 7", "COMMENT ON VIEW big IS 'it''s big'",
        "COMMENT ON COLUMN bigger.s IS 'sum'", "GRANT CREATE ON SCHEMA public TO fs_owner", "GRANT SELECT ON "
        "bill TO fs_owner",
        "ALTER VIEW big OWNER TO fs_owner", "GRANT SELECT ON big TO fs_reader, PUBLIC", "GRANT UPDATE (i) ON "
        "bigger TO fs_reader",
        "CREATE RULE away AS ON DELETE TO bigger DO INSTEAD NOTHING",
    ),
    "materialized view": (
        "CREATE MATERIALIZED VIEW total AS SELECT who, sum(sum) AS s FROM bill GROUP BY who",
        "CREATE UNIQUE INDEX total_who ON total (who)", "CREATE MATERIALIZED VIEW empty AS SELECT sum FROM bill "
        "WITH NO DATA",
    ),
    "policy and trigger": (
        "ALTER TABLE bill ENABLE ROW LEVEL SECURITY", "CREATE POLICY small ON bill FOR SELECT USING (sum < 1000)",
        "COMMENT ON POLICY small ON bill IS 'small ones'",
        "CREATE TRIGGER once BEFORE UPDATE OF sum ON bill FOR EACH ROW WHEN (NEW.sum > 3)"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "ALTER TABLE bill ENABLE REPLICA TRIGGER once",
    ),
    "rule": ("CREATE RULE none AS ON UPDATE TO bill WHERE NEW.sum > 5 DO INSTEAD NOTHING",),
    "computed column": ("ALTER TABLE bill ADD twice integer GENERATED ALWAYS AS (sum * 2) STORED",),
    "function": ("CREATE FUNCTION s() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT sum(sum) FROM bill; END",),
    "publication": ("CREATE PUBLICATION bills FOR TABLE bill (id, sum) WHERE (sum > 0)",),
    "a row of the table as a type": ("CREATE TABLE kept (b bill)",),
}  # fmt: skip
FIXED = {"computed column", "function", "publication", "a row of the table as a type"}
VIEWS = {"view", "a view on a view, with grants, comments, a default and another owner", "materialized view"}


@pytest.fixture
def with_roles():
    server = servers.need("postgresql")
    servers.run("postgresql", server, "DROP ROLE IF EXISTS fs_reader", "DROP ROLE IF EXISTS fs_owner")
    with servers.Fresh("postgresql") as fresh:
        yield fresh
    servers.run("postgresql", server, "DROP ROLE IF EXISTS fs_reader", "DROP ROLE IF EXISTS fs_owner")


def dependents(fresh):
    return run(
        fresh,
        "SELECT c.relname, c.relkind::text, pg_get_userbyid(relowner), reloptions, relispopulated,"
        " obj_description(c.oid), ARRAY(SELECT x::text FROM unnest(relacl) x ORDER BY 1), ARRAY(SELECT attname "
        "|| attacl::text"
        " || coalesce(col_description(c.oid, attnum), '') FROM pg_attribute WHERE attrelid = c.oid AND attnum > "
        "0 ORDER BY 1),"
        " ARRAY(SELECT pg_get_ruledef(oid) FROM pg_rewrite WHERE ev_class = c.oid ORDER BY 1),"
        " ARRAY(SELECT pg_get_triggerdef(oid) || tgenabled::text FROM pg_trigger WHERE tgrelid = c.oid ORDER BY 1),"
        " ARRAY(SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = c.oid ORDER BY 1),"
        " ARRAY(SELECT polname || polcmd::text || pg_get_expr(polqual, polrelid) || obj_description(oid, 'pg_policy')"
        " FROM pg_policy WHERE polrelid = c.oid)"
        " FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'm')"
        " AND relname !~ '^schema_' ORDER BY 1",
    )


@pytest.mark.parametrize("repair", [False, True], ids=["strict", "repair"])
@pytest.mark.parametrize("what", STANDING)
def test_a_type_changes_beneath_what_stands_on_it_or_the_object_is_named(with_roles, folder, what, repair):
    fresh = with_roles
    source = folder({"001_a": sql(*TABLES)})
    runner_of(fresh, source).migrate()
    run(fresh, *AGED, *STANDING[what], "INSERT INTO bill VALUES (1, 10, 'a'), (2, 100, 'b')")
    before, asked = (
        dependents(fresh),
        "SELECT format_type(atttypid, -1) FROM pg_attribute WHERE attname = 'sum' AND attrelid = 'bill'::regclass",
    )

    report = runner_of(fresh, source).migrate(strict=True, repair=repair)

    stays = what in FIXED or (what in VIEWS and not repair)
    assert dependents(fresh) == before
    assert run(fresh, "SELECT attnotnull FROM pg_attribute WHERE attname = 'n' AND attrelid = 'other'::regclass") == [
        (True,)
    ]
    wanted = "integer" if stays else "bigint"
    assert run(fresh, asked) == [(wanted,)]
    assert [item["name"] for item in report.left] == (["sum"] if stays else [])
    if stays:
        assert report.left[0]["reason"] and "Error" not in report.left[0]["reason"].partition("(")[0]
    else:
        assert not runner_of(fresh, source).drift(strict=True)
    assert run(fresh, "SELECT id, sum FROM bill ORDER BY 1") == [(1, 10), (2, 100)]


def test_one_object_that_cannot_be_mended_is_left_and_named_and_all_else_is_made(fresh, folder):
    statements = [
        "CREATE TABLE trade (id serial PRIMARY KEY, pair text, code text, CONSTRAINT trade_code UNIQUE (code))",
        "CREATE INDEX trade_pair ON trade (pair)", "CREATE TABLE other (id integer PRIMARY KEY)",
        "CREATE TABLE late (id integer PRIMARY KEY)",
    ]  # fmt: skip
    source = folder({"001_a": sql(*statements)})
    runner_of(fresh, source).migrate()
    run(
        fresh,
        "ALTER TABLE trade RENAME TO trade_bak0",
        "DROP TABLE other",
        "DROP TABLE late",
        "CREATE VIEW late AS SELECT 1",
    )

    report = runner_of(fresh, source).migrate()

    assert [(item["kind"], item["name"]) for item in report.left] == [("table", "late")]
    assert "something else has its name" in report.left[0]["reason"]
    assert run(fresh, "SELECT to_regclass('trade')::text, to_regclass('other')::text") == [("trade", "other")]
    run(fresh, "DROP VIEW late")
    assert runner_of(fresh, source).migrate().left == ()
    assert not runner_of(fresh, source).drift(strict=True)


def test_a_partition_key_keeps_its_type_and_is_named(fresh, folder):
    source = folder({"001_a": sql("CREATE TABLE IF NOT EXISTS sample (id bigint, at timestamp, n integer NOT NULL)")})
    run(fresh, "CREATE TABLE sample (id integer, at date, n integer) PARTITION BY RANGE (at)",
        "CREATE TABLE all_of_it PARTITION OF sample DEFAULT", "INSERT INTO sample VALUES (1, '2025-01-01', "
        "2)")  # fmt: skip

    report = runner_of(fresh, source).migrate(strict=True)

    assert [(item["name"], "partition key" in item["reason"]) for item in report.left] == [("at", True)]
    assert {(d.kind, d.name) for d in runner_of(fresh, source).drift(strict=True).structural} == {("type", "at")}


def test_a_dry_run_says_the_same(fresh, folder):
    source = folder({"001_a": sql(*TABLES)})
    runner_of(fresh, source).migrate()
    run(fresh, *AGED, *STANDING["view"])
    before = facts(fresh)

    dry = rehearse(Runner(fresh.url, [source], config=Config(backup="never", align="strict")))

    assert [item["name"] for item in dry.left] == ["sum"] and facts(fresh) == before
