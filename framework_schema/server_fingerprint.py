"""What two databases on servers have in common when the same statements do the same to both.

The schema, text for text as the engine writes it, whose parts are the same
wherever it was made: no number of a row in a catalog, no counter's value. And
what of server, user and session changes what a script makes.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import nullcontext, suppress
from typing import Any

import peewee as pw

from framework_schema.history import PEEWEE_MIGRATE_TABLE, History

POSTGRES = """
SELECT md5(coalesce(string_agg(fact, E'\\n' ORDER BY fact COLLATE "C"), '')) FROM (
    WITH place AS (SELECT oid FROM pg_namespace WHERE nspname = current_schema()),
    here AS (SELECT * FROM pg_class WHERE relnamespace = (SELECT oid FROM place))
    SELECT ROW('class', relname, relkind, relpersistence, relrowsecurity, relforcerowsecurity, relispartition,
        reloptions, relreplident, pg_get_userbyid(relowner), relacl::text, pg_get_expr(relpartbound, oid),
        reltablespace,
        EXISTS (SELECT 1 FROM pg_depend
        WHERE classid = 'pg_class'::regclass AND objid = here.oid AND deptype = 'e' OFFSET 0))::text AS fact
        FROM here WHERE relkind NOT IN ('i', 'I')
    UNION ALL SELECT ROW('column', relname, attnum, attname, format_type(atttypid, atttypmod), attnotnull, attidentity,
        attgenerated, attcollation, attstorage, attacl::text, pg_get_expr(adbin, adrelid), attislocal,
        attinhcount)::text
        FROM here CROSS JOIN LATERAL (SELECT * FROM pg_attribute
        WHERE attrelid = here.oid AND attnum > 0 AND NOT attisdropped OFFSET 0) a
        LEFT JOIN pg_attrdef ON adrelid = here.oid AND adnum = attnum
        WHERE relkind NOT IN ('i', 'I', 'S')
    UNION ALL SELECT ROW('comment', relname, objsubid, description)::text
        FROM here CROSS JOIN LATERAL (SELECT * FROM pg_description
        WHERE objoid = here.oid AND classoid = 'pg_class'::regclass OFFSET 0) d
    UNION ALL SELECT ROW('constraint', relname, conname, convalidated, pg_get_constraintdef(k.oid))::text
        FROM here JOIN pg_constraint k ON conrelid = here.oid
    UNION ALL SELECT ROW('index', relname, indisvalid, indisunique, indisreplident, pg_get_indexdef(indexrelid))::text
        FROM here JOIN pg_index ON indrelid = here.oid
    UNION ALL SELECT ROW('trigger', relname, tgenabled, pg_get_triggerdef(t.oid), prosrc, prolang)::text
        FROM here JOIN pg_trigger t ON tgrelid = here.oid JOIN pg_proc f ON f.oid = tgfoid WHERE NOT tgisinternal
    UNION ALL SELECT ROW('rule', relname, ev_enabled, pg_get_ruledef(r.oid))::text
        FROM here JOIN pg_rewrite r ON ev_class = here.oid
    UNION ALL SELECT ROW('policy', relname, polname, polcmd, polpermissive, polroles::text,
        pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))::text
        FROM here JOIN pg_policy ON polrelid = here.oid
    UNION ALL SELECT ROW('parent', relname, inhparent::regclass, inhseqno)::text
        FROM here JOIN pg_inherits ON inhrelid = here.oid
    UNION ALL SELECT ROW('child', relname, inhrelid::regclass)::text FROM here JOIN pg_inherits ON inhparent = here.oid
    UNION ALL SELECT ROW('referred to', relname, conrelid::regclass, conname, pg_get_constraintdef(k.oid))::text
        FROM here JOIN pg_constraint k ON confrelid = here.oid AND connamespace <> (SELECT oid FROM place)
    UNION ALL SELECT ROW('sequence', relname, format_type(seqtypid, NULL), seqstart, seqincrement, seqmax, seqmin,
        seqcache, seqcycle, refobjid::regclass, refobjsubid, deptype)::text
        FROM here JOIN pg_sequence ON seqrelid = here.oid
        LEFT JOIN LATERAL (SELECT * FROM pg_depend
        WHERE classid = 'pg_class'::regclass AND objid = here.oid AND deptype IN ('a', 'i') OFFSET 0) d ON true
    UNION ALL SELECT ROW('type', typname, typtype, typnotnull, typdefault, format_type(typbasetype, typtypmod),
        ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder),
        ARRAY(SELECT pg_get_constraintdef(k.oid) FROM pg_constraint k WHERE contypid = t.oid ORDER BY conname))::text
        FROM pg_type t WHERE typnamespace = (SELECT oid FROM place) AND typtype IN ('e', 'd', 'r')
    UNION ALL SELECT ROW('function', oid::regprocedure, prokind, prorettype::regtype, prolang, prosrc, provolatile,
        prosecdef, proisstrict, proretset, proconfig, pg_get_expr(proargdefaults, 0))::text
        FROM pg_proc WHERE pronamespace = (SELECT oid FROM place)
    UNION ALL SELECT ROW('event trigger', evtname, evtevent, evtenabled, evttags, prosrc)::text
        FROM pg_event_trigger JOIN pg_proc f ON f.oid = evtfoid
    UNION ALL SELECT ROW('extension', extname, extversion, extnamespace::regnamespace)::text FROM pg_extension
    UNION ALL SELECT ROW('default', defaclrole::regrole, defaclobjtype, defaclacl::text)::text FROM pg_default_acl
) AS facts
"""
"""OFFSET 0 keeps the server from joining catalogs that are large, whatever our schema is, by reading all of them."""

POSTGRES_SETTINGS = (
    "SELECT version(), current_user::text, session_user::text, current_schemas(true)::text, encoding, datcollate, "
    "datctype, to_jsonb(d) ->> 'datlocprovider', ARRAY(SELECT current_setting(name, true) FROM unnest('{search_path, "
    "default_tablespace, DateStyle, IntervalStyle, TimeZone, standard_conforming_strings, lc_messages, "
    "default_transaction_isolation, default_transaction_read_only, default_table_access_method, bytea_output, "
    "session_replication_role, row_security, check_function_bodies, default_with_oids, array_nulls, "
    "default_toast_compression, client_encoding, quote_all_identifiers}'::text[]) AS name)::text "
    "FROM pg_database d WHERE datname = current_database()"
)

MARIADB_SETTINGS = (
    "SELECT version(), CURRENT_USER(), @@character_set_database, @@collation_database, @@sql_mode, "
    "@@lower_case_table_names, @@default_storage_engine, @@innodb_default_row_format, @@innodb_strict_mode, "
    "@@foreign_key_checks, @@unique_checks, @@check_constraint_checks, @@time_zone, @@system_time_zone, "
    "@@explicit_defaults_for_timestamp, @@collation_connection, @@innodb_file_per_table, @@alter_algorithm, "
    "@@old_mode, @@autocommit, @@tx_isolation, @@auto_increment_increment, @@div_precision_increment, "
    "@@group_concat_max_len"
)

COUNTER = re.compile(r"(?m)^(\) ENGINE=\S+) AUTO_INCREMENT=\d+")


def fingerprint(database: pw.Database) -> str:
    """Hash the schema that the connection is in."""
    if isinstance(database, pw.PostgresqlDatabase):
        with getattr(database, "preparing", nullcontext)():
            return str(database.execute_sql(POSTGRES).fetchone()[0])
    return hashlib.sha256(repr(_mariadb(database)).encode()).hexdigest()


def server_key(database: pw.Database, history: History) -> tuple[Any, ...] | None:
    """Return schema, history's rows and surroundings, or None for a database that has to be looked at closely.

    Such is one with another tool's history, and on MariaDB one in which a
    script was begun and not ended, of which the journal tells.
    """
    for is_old in (False, True):
        with suppress(pw.DatabaseError), database.atomic() if database.in_transaction() else nullcontext():
            return _key(database, history, is_old=is_old)
    return None  # another tool's table of the history's name, a view that no longer stands, a server without a setting


def _key(database: pw.Database, history: History, *, is_old: bool) -> tuple[Any, ...] | None:
    tables = set(database.get_tables())
    if PEEWEE_MIGRATE_TABLE in tables:
        return None
    has_events = history.events_table in tables
    rows: tuple[tuple[Any, ...], ...] = ()
    if history.table in tables:
        rows = history.facts_of_old() if is_old else history.facts(has_events=has_events)
    begun = _begun(database, history) if has_events else set()
    if begun - {key for key, success, *_ in rows if success is None or success}:
        return None
    settings = POSTGRES_SETTINGS if isinstance(database, pw.PostgresqlDatabase) else MARIADB_SETTINGS
    around = tuple(database.execute_sql(settings).fetchone())
    return (fingerprint(database), rows, around)


def _begun(database: pw.Database, history: History) -> set[str]:
    if isinstance(database, pw.PostgresqlDatabase):
        return set()
    quoted = "`" + history.events_table.replace("`", "``") + "`"
    rows = database.execute_sql(f"SELECT DISTINCT migration_name FROM {quoted} WHERE kind = 'progress'")
    return {str(key) for (key,) in rows.fetchall()}


def _mariadb(database: pw.Database) -> list[Any]:
    """Let the server write every statement; a view's has the database's own name in it."""
    name = str(database.execute_sql("SELECT DATABASE()").fetchone()[0])
    own = "`" + name.replace("`", "``") + "`."
    found: list[Any] = []
    tables = database.execute_sql(
        "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY 1"
    )
    for table, kind in tables.fetchall():
        found += [kind, *_written(database, "SEQUENCE" if kind == "SEQUENCE" else "TABLE", table, own)]
    triggers = database.execute_sql(
        "SELECT trigger_name, event_object_table, action_order, action_timing, event_manipulation, action_statement, "
        "sql_mode, definer, collation_connection FROM information_schema.triggers WHERE trigger_schema = DATABASE() "
        "ORDER BY 1"
    )
    found += triggers.fetchall()
    routines = database.execute_sql(
        "SELECT routine_type, routine_name FROM information_schema.routines WHERE routine_schema = DATABASE() "
        "ORDER BY 1, 2"
    )
    for kind, routine in routines.fetchall():
        found += _written(database, kind, routine, own)
    return found


def _written(database: pw.Database, kind: str, name: str, own: str) -> list[str]:
    quoted = "`" + name.replace("`", "``") + "`"
    row = database.execute_sql(f"SHOW CREATE {kind} {quoted}".replace("%", "%%")).fetchone()
    if None in row[:4]:
        raise pw.OperationalError(f"the text of {name} is not ours to read")
    return [COUNTER.sub(r"\1", str(part)).replace(own, "") for part in row]
