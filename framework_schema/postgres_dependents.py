"""What stands on a column of PostgreSQL's, so that its type cannot change: how it is taken down and put back.

Triggers, policies and rules belong to a table and are taken down and put back
in the transaction of the change. Views belong to those who read them: they are
named, and taken down and put back only on request, exactly (definition, owner,
grants, comments, options, indexes); that is checked before the change stays.
A computed column, a function's body, a publication and a partition key are
named only. See https://www.postgresql.org/docs/current/ddl-depend.html
"""

from __future__ import annotations

from typing import Any

import peewee as pw

from framework_schema.postgres_texts import COMMANDS, grant, literal
from framework_schema.server_alignment import Around
from framework_schema.server_snapshot import pg_quote

ATTRIBUTE = (
    "SELECT c.oid, a.attnum, a.attinhcount, pg_get_partkeydef(c.oid), "
    "(SELECT a.attnum = ANY (string_to_array(p.partattrs::text, ' ')::int[]) FROM pg_partitioned_table p "
    "WHERE p.partrelid = c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = %s WHERE n.nspname = current_schema() AND c.relname = %s"
)
ON_COLUMN = (
    "SELECT DISTINCT d.classid::regclass::text, d.objid FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass "
    "AND d.refobjid = %s AND d.refobjsubid = %s AND d.classid::regclass::text IN "
    "('pg_rewrite', 'pg_trigger', 'pg_policy', 'pg_attrdef', 'pg_proc', 'pg_publication_rel') ORDER BY 1, 2"
)
VIEWS = """
WITH RECURSIVE standing AS (
    SELECT r.ev_class AS oid, 1 AS level FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid
    JOIN pg_class v ON v.oid = r.ev_class AND v.relkind IN ('v', 'm')
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
    AND d.refobjid = %s AND d.refobjsubid = %s AND r.ev_class <> d.refobjid
    UNION
    SELECT r.ev_class, s.level + 1 FROM standing s JOIN pg_depend d ON d.refobjid = s.oid
    AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
    JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_class <> s.oid
    JOIN pg_class v ON v.oid = r.ev_class AND v.relkind IN ('v', 'm') WHERE s.level < 50
)
SELECT oid, max(level) FROM standing GROUP BY oid ORDER BY 2, 1
"""
VIEW = (
    "SELECT format('%%I.%%I', n.nspname, c.relname), c.relkind = 'm', pg_get_viewdef(c.oid), "
    "array_to_string(c.reloptions, ', '), c.relispopulated, pg_get_userbyid(c.relowner), "
    "pg_get_userbyid(c.relowner) = current_user, obj_description(c.oid, 'pg_class'), "
    "ARRAY(SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = c.oid ORDER BY indexrelid), "
    "ARRAY(SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t WHERE tgrelid = c.oid AND NOT tgisinternal "
    "ORDER BY t.oid), "
    "ARRAY(SELECT pg_get_ruledef(r.oid) FROM pg_rewrite r WHERE ev_class = c.oid AND rulename <> '_RETURN' "
    "ORDER BY r.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %s"
)
VIEW_COLUMNS = (
    "SELECT quote_ident(a.attname), col_description(a.attrelid, a.attnum), pg_get_expr(d.adbin, d.adrelid) "
    "FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum "
    "WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped"
)
VIEW_GRANTS = (
    "SELECT NULL, g.privilege_type, g.grantee = 0, r.rolname, g.is_grantable FROM pg_class c "
    "CROSS JOIN LATERAL aclexplode(c.relacl) g LEFT JOIN pg_roles r ON r.oid = g.grantee "
    "WHERE c.oid = %s AND g.grantee <> c.relowner UNION ALL "
    "SELECT a.attname, g.privilege_type, g.grantee = 0, r.rolname, g.is_grantable FROM pg_attribute a "
    "CROSS JOIN LATERAL aclexplode(a.attacl) g LEFT JOIN pg_roles r ON r.oid = g.grantee "
    "WHERE a.attrelid = %s AND a.attacl IS NOT NULL"
)
FACTS = (
    "SELECT md5(ROW(c.relkind, pg_get_userbyid(c.relowner), c.reloptions, c.relispopulated, "
    "obj_description(c.oid, 'pg_class'), "
    "ARRAY(SELECT ROW(g.grantee, g.privilege_type, g.is_grantable)::text "
    "FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) g ORDER BY 1), "
    "ARRAY(SELECT ROW(a.attname, a.attacl::text, col_description(c.oid, a.attnum), "
    "pg_get_expr(d.adbin, d.adrelid))::text "
    "FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum "
    "WHERE a.attrelid = c.oid AND a.attnum > 0 ORDER BY a.attnum), "
    "ARRAY(SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = c.oid ORDER BY 1), "
    "ARRAY(SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t WHERE tgrelid = c.oid AND NOT tgisinternal ORDER BY 1), "
    "ARRAY(SELECT pg_get_ruledef(r.oid) FROM pg_rewrite r WHERE ev_class = c.oid AND rulename <> '_RETURN' ORDER BY 1)"
    ")::text) FROM pg_class c WHERE c.oid = "
)
"""All of a view but its definition, whose casts follow the types beneath it."""

TRIGGER = (
    "SELECT tgname, tgrelid::regclass::text, pg_get_triggerdef(oid), tgenabled::text, "
    "obj_description(oid, 'pg_trigger') FROM pg_trigger WHERE oid = %s AND NOT tgisinternal"
)
POLICY = (
    "SELECT polname, polrelid::regclass::text, polpermissive, polcmd::text, CASE WHEN polroles = '{0}' THEN 'PUBLIC' "
    "ELSE (SELECT string_agg(quote_ident(rolname), ', ' ORDER BY rolname) FROM pg_roles r "
    "WHERE r.oid = ANY (polroles)) END, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid), "
    "obj_description(oid, 'pg_policy') FROM pg_policy WHERE oid = %s"
)
RULE = (
    "SELECT r.rulename, c.oid::regclass::text, pg_get_ruledef(r.oid), r.ev_enabled::text, "
    "obj_description(r.oid, 'pg_rewrite') FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class "
    "WHERE r.oid = %s AND r.rulename <> '_RETURN'"
)
COMPUTED = (
    "SELECT a.attname FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum "
    "WHERE d.oid = %s AND (d.adrelid, d.adnum) <> (%s, %s)"
)
STATES = {"D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}


def around(database: pw.Database, table: str, column: str, *, views_too: bool) -> Around:
    """Return what to do around a change of a column's type, or why it cannot be done."""
    row = database.execute_sql(ATTRIBUTE, (column, table)).fetchone()
    if row is None:
        return Around()
    oid, number, inherited, partitions, is_key = row
    if is_key:
        return Around(blocked=f"the table is partitioned by it ({partitions}); a partition key keeps its type")
    if inherited:
        return Around(blocked="it is inherited; its type can be changed in the parent table only")
    return _Standing(database, oid, number).around(views_too=views_too)


class _Standing:
    """What stands on one column."""

    def __init__(self, database: pw.Database, oid: int, number: int) -> None:
        self.database, self.oid, self.number = database, oid, number
        self.before: list[str] = []
        self.after: list[str] = []
        self.fixed: list[str] = []

    def _rows(self, sql: str, *params: Any) -> list[Any]:
        found: list[Any] = self.database.execute_sql(sql, params).fetchall()
        return found

    def around(self, *, views_too: bool) -> Around:
        """Return both, or the names of what stays."""
        for catalog, oid in self._rows(ON_COLUMN, self.oid, self.number):
            getattr(self, f"_{catalog}")(oid)
        views = [oid for oid, _ in self._rows(VIEWS, self.oid, self.number)]
        told = [self._view(oid) for oid in views]
        if self.fixed or (views and not views_too):
            return Around(blocked=self._why(told), query=_definitions(views))
        for down, up in told:  # each view before those that read it
            self.before.insert(0, down)
            self.after += up
        return Around(tuple(self.before), tuple(self.after))

    def _why(self, views: list[tuple[str, list[str]]]) -> str:
        names = [down.removeprefix("DROP ").replace("MATERIALIZED VIEW", "materialized view") for down, _ in views]
        listed = ", ".join(name.replace("VIEW", "view", 1) for name in [*names, *self.fixed])
        advice = "drop what stands there, run --strict again, and make it again"
        if not self.fixed:
            advice = "--strict --repair takes it down and puts it back as it is; or " + advice
        return f"its type cannot change while this stands on it: {listed}. Nothing of the column was changed; {advice}"

    def _pg_rewrite(self, oid: int) -> None:
        for name, table, text, enabled, comment in self._rows(RULE, oid):
            self.before.append(f"DROP RULE {pg_quote(name)} ON {table}")
            self._back("RULE", name, table, text.rstrip(";"), enabled, comment)

    def _pg_trigger(self, oid: int) -> None:
        for name, table, text, enabled, comment in self._rows(TRIGGER, oid):
            self.before.append(f"DROP TRIGGER {pg_quote(name)} ON {table}")
            self._back("TRIGGER", name, table, text, enabled, comment)

    def _back(self, word: str, name: str, table: str, text: str, enabled: str, comment: str | None) -> None:
        self.after.append(text)
        if enabled in STATES:
            self.after.append(f"ALTER TABLE {table} {STATES[enabled]} {word} {pg_quote(name)}")
        if comment:
            self.after.append(f"COMMENT ON {word} {pg_quote(name)} ON {table} IS {literal(comment)}")

    def _pg_policy(self, oid: int) -> None:
        for name, table, permissive, command, roles, using, check, comment in self._rows(POLICY, oid):
            where = f"POLICY {pg_quote(name)} ON {table}"
            how = f"AS {'PERMISSIVE' if permissive else 'RESTRICTIVE'} FOR {COMMANDS[command]} TO {roles}"
            how += (f" USING ({using})" if using else "") + (f" WITH CHECK ({check})" if check else "")
            self.before.append(f"DROP {where}")
            self.after.append(f"CREATE {where} {how}")
            self.after += [f"COMMENT ON {where} IS {literal(comment)}"] if comment else []

    def _pg_attrdef(self, oid: int) -> None:
        self.fixed += [f"computed column {name}" for (name,) in self._rows(COMPUTED, oid, self.oid, self.number)]

    def _pg_proc(self, oid: int) -> None:
        self.fixed += [f"function {name}" for (name,) in self._rows("SELECT %s::regprocedure::text", oid)]

    def _pg_publication_rel(self, oid: int) -> None:
        query = "SELECT p.pubname FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid WHERE r.oid = %s"
        self.fixed += [f"publication {name}" for (name,) in self._rows(query, oid)]

    def _view(self, oid: int) -> tuple[str, list[str]]:
        """Return the statement that drops a view, and those that make it again as it is."""
        ((name, is_kept, text, options, is_filled, owner, is_ours, comment, indexes, triggers, rules),) = self._rows(
            VIEW, oid
        )
        word = "MATERIALIZED VIEW" if is_kept else "VIEW"
        plus = f" WITH ({options})" if options else ""
        empty = "" if is_filled or not is_kept else " WITH NO DATA"
        up = [f"CREATE {word} {name}{plus} AS {text.strip().rstrip(';')}{empty}", *indexes, *triggers, *rules]
        up += [f"COMMENT ON {word} {name} IS {literal(comment)}"] if comment else []
        for column, said, default in self._rows(VIEW_COLUMNS, oid):
            up += [f"ALTER VIEW {name} ALTER COLUMN {column} SET DEFAULT {default}"] if default else []
            up += [f"COMMENT ON COLUMN {name}.{column} IS {literal(said)}"] if said else []
        up += [] if is_ours else [f"ALTER {word} {name} OWNER TO {pg_quote(owner)}"]
        for column, privilege, is_public, role, grantable in self._rows(VIEW_GRANTS, oid, oid):
            up.append(grant(name, column, privilege, is_public, role, grantable))
        ((facts,),) = self._rows(f"{FACTS}%s", oid)
        up.append(
            f"DO $framework_schema$ BEGIN IF ({FACTS}{literal(name)}::regclass) IS DISTINCT FROM {literal(facts)} THEN "
            f"RAISE EXCEPTION USING MESSAGE = {literal(f'{word.lower()} {name} would not be again what it was')}; "
            "END IF; END $framework_schema$"
        )
        return f"DROP {word} {name}", up


def _definitions(views: list[int]) -> str:
    if not views:
        return ""
    listed = ", ".join(map(str, views))
    return f"SELECT oid::regclass, pg_get_viewdef(oid) FROM pg_class WHERE oid IN ({listed})"
