"""What a PostgreSQL table carries that a snapshot has no word for, as the server prints it.

Row security, policies, rules, comments, partitions, storage: each with the
statements that make it again. Grants are made again with a lost table and
compared with nobody's: who may read is the operator's matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from framework_schema.server_snapshot import Parts, pg_quote
from framework_schema.snapshot import Carried

Rows = Callable[..., list[Any]]

FOREIGN_KEY_MORE = re.compile(
    r" (?:MATCH (?:FULL|PARTIAL)|ON DELETE SET (?:NULL|DEFAULT) \(|DEFERRABLE).*?(?= NOT VALID|$)"
)
"""What a foreign key may say behind its tables, columns and actions."""

NAMES_TAKEN = (
    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema()"
)
"""Tables, indexes, sequences and views share one set of names."""

OF = (
    "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema() "
    "AND c.relkind IN ('r', 'p') AND NOT c.relispartition "
)

OPTIONS = (
    "SELECT c.relname, c.relpersistence = 'u', c.relrowsecurity, c.relforcerowsecurity, "
    "array_to_string(c.reloptions, ', '), c.relreplident::text, pg_get_partkeydef(c.oid), "
    f"obj_description(c.oid, 'pg_class') {OF}"
)
PARTITIONS = (
    "SELECT c.relname, parent.relname, part.relname, pg_get_expr(part.relpartbound, part.oid, true), "
    f"pg_get_partkeydef(part.oid) {OF} AND c.relkind = 'p' CROSS JOIN LATERAL pg_partition_tree(c.oid) t "
    "JOIN pg_class part ON part.oid = t.relid AND t.level > 0 JOIN pg_class parent ON parent.oid = t.parentrelid "
    "ORDER BY c.relname, t.level, part.relname"
)
PARENTS = (
    f"SELECT c.relname, p.relname {OF} JOIN pg_inherits i ON i.inhrelid = c.oid JOIN pg_class p ON p.oid = i.inhparent"
)
POLICIES = (
    "SELECT c.relname, polname, polpermissive, polcmd::text, CASE WHEN polroles = '{0}' THEN 'PUBLIC' ELSE "
    "(SELECT string_agg(quote_ident(rolname), ', ' ORDER BY rolname) FROM pg_roles r "
    "WHERE r.oid = ANY (polroles)) END, "
    f"pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid) {OF} JOIN pg_policy ON polrelid = c.oid"
)
RULES = f"SELECT c.relname, rulename, pg_get_ruledef(r.oid, true) {OF} JOIN pg_rewrite r ON ev_class = c.oid"
STATISTICS = (
    f"SELECT c.relname, stxname, pg_get_statisticsobjdef(s.oid) {OF} JOIN pg_statistic_ext s ON s.stxrelid = c.oid "
    "AND s.stxnamespace = n.oid"
)
STORAGE = (
    "SELECT c.relname, a.attname, CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' "
    f"WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END {OF} JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 "
    "AND NOT a.attisdropped JOIN pg_type t ON t.oid = a.atttypid AND t.typstorage <> a.attstorage"
)
SEQUENCES = (
    "SELECT c.relname, a.attname, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle "
    f"{OF} JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.refobjsubid > 0 "
    "AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') JOIN pg_sequence s ON s.seqrelid = d.objid "
    "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid "
    "WHERE (s.seqstart, s.seqincrement, s.seqmin, s.seqcache) <> (1, 1, 1, 1) OR s.seqcycle"
)
GRANTS = (
    "SELECT c.relname, NULL, g.privilege_type, g.grantee = 0, r.rolname, g.is_grantable "
    f"{OF} CROSS JOIN LATERAL aclexplode(c.relacl) g LEFT JOIN pg_roles r ON r.oid = g.grantee "
    "WHERE g.grantee <> c.relowner UNION ALL "
    "SELECT c.relname, a.attname, g.privilege_type, g.grantee = 0, r.rolname, g.is_grantable "
    f"{OF} JOIN pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL "
    "CROSS JOIN LATERAL aclexplode(a.attacl) g LEFT JOIN pg_roles r ON r.oid = g.grantee"
)
COMMANDS = {"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE", "*": "ALL"}
IDENTITIES = {"n": "NOTHING", "f": "FULL"}


def literal(text: str) -> str:
    """Return a text as PostgreSQL's literal, standard_conforming_strings being on."""
    return "'" + text.replace("'", "''") + "'"


class CarriedParts:
    """Reads them all, a query a kind; most of these find nothing."""

    def __init__(self, rows: Rows, of: Callable[[str], Parts | None]) -> None:
        self.rows, self.of = rows, of

    def read(self) -> None:
        """Add to the parts of each table."""
        self._options()
        self._partitions()
        self._policies()
        self._rules()
        self._columns()
        for table, column, privilege, is_public, role, grantable in self.rows(GRANTS):
            self._after(table, grant(f"TABLE {pg_quote(table)}", column, privilege, is_public, role, grantable))

    def _put(self, table: str, label: str, text: str, make: tuple[str, ...], drop: tuple[str, ...] = ()) -> None:
        parts = self.of(table)
        if parts is not None:
            parts.carried[label] = Carried(text, make, drop)

    def _after(self, table: str, statement: str) -> None:
        parts = self.of(table)
        if parts is not None:
            parts.after.append(statement)

    def _options(self) -> None:
        for table, is_unlogged, security, forced, options, replica, partitions, comment in self.rows(OPTIONS):
            change = f"ALTER TABLE {pg_quote(table)}"
            if is_unlogged:
                self._put(table, "unlogged table", "UNLOGGED", (f"{change} SET UNLOGGED",), (f"{change} SET LOGGED",))
            if security:
                how = (f"{change} ENABLE ROW LEVEL SECURITY", *([f"{change} FORCE ROW LEVEL SECURITY"] * forced))
                self._put(table, "row security", "FORCE" if forced else "ENABLE", how)
            if options:
                names = ", ".join(option.partition("=")[0] for option in options.split(", "))
                drop = (f"{change} RESET ({names})",)
                self._put(table, "options table", options, (f"{change} SET ({options})",), drop)
            if replica in IDENTITIES:
                how = (f"{change} REPLICA IDENTITY {IDENTITIES[replica]}",)
                self._put(table, "replica identity", IDENTITIES[replica], how)
            if partitions:
                self._put(table, "partitions by", partitions, ())
            if comment:
                said = f"COMMENT ON TABLE {pg_quote(table)} IS {literal(comment)}"
                self._put(table, "comment table", comment, (said,))

    def _partitions(self) -> None:
        for table, parent, part, bound, key in self.rows(PARTITIONS):
            again = f" PARTITION BY {key}" if key else ""
            made = f"CREATE TABLE {pg_quote(part)} PARTITION OF {pg_quote(parent)} {bound}{again}"
            self._put(table, f"partition {part}", bound + again, (made,))
        for table, parent in self.rows(PARENTS):
            how = f"ALTER TABLE {pg_quote(table)} INHERIT {pg_quote(parent)}"
            self._put(table, f"parent {parent}", "INHERIT", (how,))

    def _policies(self) -> None:
        for table, name, permissive, command, roles, using, check in self.rows(POLICIES):
            text = f"AS {'PERMISSIVE' if permissive else 'RESTRICTIVE'} FOR {COMMANDS[command]} TO {roles}"
            text += (f" USING ({using})" if using else "") + (f" WITH CHECK ({check})" if check else "")
            where = f"POLICY {pg_quote(name)} ON {pg_quote(table)}"
            self._put(table, f"policy {name}", text, (f"CREATE {where} {text}",), (f"DROP {where}",))

    def _rules(self) -> None:
        for table, name, text in self.rows(RULES):
            drop = (f"DROP RULE {pg_quote(name)} ON {pg_quote(table)}",)
            self._put(table, f"rule {name}", text, (text.rstrip(";"),), drop)
        for table, name, text in self.rows(STATISTICS):
            bare = re.sub(r'\ACREATE STATISTICS (?:"(?:[^"]|"")*"|[^\s."]+)\.', "CREATE STATISTICS ", text)
            self._put(table, f"statistics {name}", bare, (bare,), (f"DROP STATISTICS {pg_quote(name)}",))

    def _columns(self) -> None:
        for table, column, storage in self.rows(STORAGE):
            how = f"ALTER TABLE {pg_quote(table)} ALTER COLUMN {pg_quote(column)} SET STORAGE {storage}"
            self._put(table, f"storage {column}", storage, (how,))
        for table, column, start, increment, least, most, cache, cycle in self.rows(SEQUENCES):
            options = f"START {start} INCREMENT {increment} MINVALUE {least} MAXVALUE {most} CACHE {cache}"
            options += " CYCLE" if cycle else ""
            parts = self.of(table)
            if parts is not None and column in parts.counts:
                said = re.sub(r"(\A| )(?=[A-Z])", " SET ", options).strip()
                parts.after.append(
                    f"ALTER TABLE {pg_quote(table)} ALTER COLUMN {pg_quote(column)} {said} RESTART WITH {start}"
                )


def grant(what: str, column: str | None, privilege: str, is_public: bool, role: str, grantable: bool) -> str:
    """Write the GRANT for one line of an access list."""
    which = f"{privilege} ({pg_quote(column)})" if column else privilege
    option = " WITH GRANT OPTION" if grantable else ""
    return f"GRANT {which} ON {what} TO {'PUBLIC' if is_public else pg_quote(role)}{option}"
