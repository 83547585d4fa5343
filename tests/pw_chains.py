"""Chains of peewee_migrate's scripts, in the shapes that public ones have: those of ``data/chains``, and two long ones.

A file holds its scripts in order. ``=== name`` begins one, ``---`` its rollback; ``... signature`` gives another one
than today's, ``... head`` what stands above the functions.
"""

from pathlib import Path
from textwrap import indent

HERE = Path(__file__).parent / "data" / "chains"
SIGNATURE = "migrator, database, *, fake=False"


def chains():
    """Return the text of every script by name, in run order, by chain."""
    found = {path.stem: _of_file(path.read_text(encoding="utf-8")) for path in sorted(HERE.glob("*.txt"))}
    return found | {"yearly": _numbered(_yearly()), "flags": _numbered(_flags())}


def write(scripts, folder):
    """Write a chain's scripts into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in scripts.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


def _of_file(text):
    return _numbered(map(_script, text.split("\n=== ")[1:]))


def _numbered(scripts):
    return {f"{number:03}_{name}": text for number, (name, text) in enumerate(scripts, 1)}


def _script(block):
    name, _, rest = block.partition("\n")
    parts = {"head": [], "up": [], "down": []}
    now, signature = "up", SIGNATURE
    for line in rest.splitlines():
        if line.startswith("... signature "):
            signature = line.removeprefix("... signature ")
        elif line.strip() in ("---", "... head"):
            now = "down" if line.strip() == "---" else "head"
        else:
            parts[now].append(line)
    up, down, head = ("\n".join(parts[part]) for part in ("up", "down", "head"))
    return name, text_of(up, down, head, signature)


def text_of(up, down, head="", signature=SIGNATURE):
    """Write one script."""
    both = (("migrate", up), ("rollback", down))
    functions = (f"def {name}({signature}):\n{indent(body, '    ')}\n" for name, body in both)
    return "\n\n".join(["import peewee as pw", head, *functions])


def _yearly():
    """Yield 40 scripts: a table a year that refers to the one before, grows, is indexed, and renamed at the end."""
    for year in range(2001, 2011):
        table, past = f"year_{year}", f"past_{year}"
        fields = [f"total = pw.IntegerField(default={year})"]
        if year > 2001:
            key = f"migrator.orm['past_{year - 1}'], null=True, index=False, backref='next_{year}'"
            fields.append(f"before = pw.ForeignKeyField({key})")
        yield f"begin_{year}", text_of(model("Year", table, *fields), f"migrator.remove_model('{table}')")
        best = f"best=pw.CharField(max_length=9, default='{year}'), worst=pw.IntegerField(null=True)"
        yield (
            f"grow_{year}",
            text_of(f"migrator.add_fields('{table}', {best})", f"migrator.remove_fields('{table}', 'best', 'worst')"),
        )
        add = f"migrator.add_index('{table}', 'best', 'worst', unique=True)"
        drop = f"migrator.drop_index('{table}', 'best', 'worst')"
        yield f"index_{year}", text_of(add, drop)
        rename, back = (f"migrator.rename_table('{one}', '{other}')" for one, other in ((table, past), (past, table)))
        yield f"end_{year}", text_of(f"{drop}\n{rename}", f"{back}\n{add}")


def _flags():
    """Yield 36 scripts: a table of settings to which flags come, may lack, get other names, and go."""
    owner = "owner = pw.CharField(max_length=20, unique=True)"
    yield "settings", text_of(model("Setting", "setting", owner), "migrator.remove_model('setting')")
    for number in range(7):
        flag = f"flag_{number}"
        add = f"migrator.add_fields('setting', {flag}=pw.BooleanField(default={number % 2 == 0}))"
        yield f"add_{flag}", text_of(add, f"migrator.remove_fields('setting', '{flag}')")
        fill = f"migrator.sql('UPDATE setting SET {flag} = (1 = 0) WHERE {flag} IS NULL')"
        drop, add = (f"migrator.{what}_not_null('setting', '{flag}')" for what in ("drop", "add"))
        yield f"maybe_{flag}", text_of(drop, f"{fill}\n{add}")
        names = ((flag, f"has_{flag}"), (f"has_{flag}", flag))
        yield (
            f"name_{flag}",
            text_of(*(f"migrator.rename_field('setting', '{one}', '{other}')" for one, other in names)),
        )
        level = f"migrator.add_fields('setting', level_{number}=pw.IntegerField(null=True, default={number}))"
        yield f"level_{number}", text_of(level, f"migrator.remove_fields('setting', 'level_{number}')")
        if number % 2:
            again = f"migrator.add_fields('setting', has_{flag}=pw.BooleanField(null=True, default=False))"
            yield f"drop_{flag}", text_of(f"migrator.remove_fields('setting', 'has_{flag}')", again)
    yield "rename", text_of("migrator.rename_table('setting', 'choice')", "migrator.rename_table('choice', 'setting')")
    yield (
        "wide",
        text_of(
            "migrator.add_fields('choice', **{f'extra_{n}': pw.IntegerField(null=True) for n in range(30)})",
            "migrator.remove_fields('choice', *[f'extra_{n}' for n in range(30)])",
        ),
    )
    yield (
        "reason",
        text_of(
            "migrator.add_fields('choice', reason=pw.TextField(default=''))",
            "migrator.remove_fields('choice', 'reason')",
        ),
    )
    yield (
        "shorter_reason",
        text_of(
            "migrator.change_fields('choice', reason=pw.CharField(max_length=99))",
            "migrator.change_fields('choice', reason=pw.TextField())",
        ),
    )


def model(name, table, *fields):
    """Write what creates a model."""
    body = "\n".join([*fields, "class Meta:", f"    table_name = '{table}'"])
    return f"@migrator.create_model\nclass {name}(pw.Model):\n{indent(body, '    ')}"
