"""One migration script as a value, read without being run."""

from __future__ import annotations

import ast
import enum
import hashlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import CodeType
from typing import Any

from framework_schema.errors import SourceError

NAME = re.compile(r"(\d{3,})_[^./\\]+", re.ASCII)
"""What a numbered script is called: three digits or more, an underscore, and no dot, as for peewee_migrate."""


class Style(enum.Enum):
    """How a script wants to be called."""

    PEEWEE = "migrate(migrator, database, *, fake=False)"
    CURSOR = "apply_migration(cursor)"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True)
class Migration:
    """One script: where it comes from, what it is called, and its bytes.

    Identity is ``key``, source and name. The file is parsed when first asked
    for anything but these, and never imported: ``load`` runs its text in a
    namespace of its own for every use, since a Peewee model remembers the
    database it was bound to.
    """

    source: str
    name: str
    content: bytes = field(repr=False)
    path: Path = field(compare=False, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process without what was made of the text."""
        return Migration, (self.source, self.name, self.content, self.path)

    @cached_property
    def key(self) -> str:
        """Return ``source/name``, what the history holds."""
        return f"{self.source}/{self.name}"

    @cached_property
    def tree(self) -> ast.Module:
        """Parse the script.

        Raises ``SourceError`` with file and line when it is no valid Python.
        """
        try:
            return ast.parse(self.content, filename=str(self.path))
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            line = getattr(error, "lineno", None)
            raise SourceError(
                self.key,
                f"{self.path}{f', line {line}' if line else ''}: {error.__class__.__name__}: "
                f"{getattr(error, 'msg', error) or 'nested too deeply'}",
                "Mend the script and run again; until then nothing of this source runs.",
            ) from error

    @cached_property
    def checksum(self) -> str:
        """Hash the syntax tree, so that a formatter or a comment changes nothing, nor what it says of itself."""
        does = [part for part in self.tree.body if not (_sets(part, "depends_on") or _sets(part, "fills"))]
        return hashlib.sha256("\n".join(_shape(ast.Module(does, self.tree.type_ignores))).encode()).hexdigest()[:32]

    @cached_property
    def style(self) -> Style:
        """Tell how the script wants to be called, by the functions it defines."""
        if self._takes_migrator("migrate"):
            return Style.PEEWEE
        old = self.functions.get("apply_migration")
        return Style.CURSOR if old is not None and _accepts_one(old) else Style.UNSUPPORTED

    @property
    def is_numbered(self) -> bool:
        """Tell whether the name gives the script a place in the order."""
        return NAME.fullmatch(self.name) is not None

    @property
    def unsupported(self) -> str | None:
        """Say why the script cannot be run, or None when it can."""
        if self.style is not Style.UNSUPPORTED:
            return None
        if not self.tree.body:
            return "the file is empty"
        found = [name for name in ("migrate", "apply_migration", "main", "run_migration") if name in self.functions]
        takes = self.functions.get("migrate")
        if takes is not None and _required(takes) > 2:
            return f"migrate() wants {_required(takes)} arguments; it is called with two, migrate(migrator, database)"
        if found:
            return (
                f"{found[0]}() opens a database by itself;"
                " expected migrate(migrator, database) or apply_migration(cursor)"
            )
        return "it defines neither migrate(migrator, database) nor apply_migration(cursor)"

    @cached_property
    def has_rollback(self) -> bool:
        """Tell whether the script can be undone."""
        return self.style is Style.PEEWEE and self._takes_migrator("rollback")

    @cached_property
    def depends_on(self) -> tuple[str, ...]:
        """Keys or sources this script names as ``depends_on``."""
        return read_needs(self.tree, (), self.key)

    @cached_property
    def atomic(self) -> bool:
        """False for a script with statements that refuse a transaction."""
        return bool(self._setting("atomic", True))

    @cached_property
    def destructive(self) -> bool:
        """True for a script that says it removes data."""
        return bool(self._setting("destructive", False))

    @cached_property
    def fills(self) -> tuple[str, ...]:
        """Return what this script fills with data, as ``Table.column``, or ``Table`` for its first rows.

        Raises ``SourceError`` for anything but a list of names, and for a
        script that cannot run in the transaction in which it is made anew.
        """
        value = self._setting("fills", [])
        if not isinstance(value, list | tuple) or not all(isinstance(what, str) and what for what in value):
            raise SourceError(self.key, f"fills is {value!r}", 'Write a list of names: fills = ["Beer.colour"].')
        if value and not self.atomic:
            problem = "it fills data and refuses a transaction (atomic = False)"
            raise SourceError(self.key, problem, "Put what fills it into a script of its own.")
        return tuple(value)

    @cached_property
    def cacheable(self) -> bool:
        """False for a script whose effect depends on more than its database (files, the network, the clock)."""
        return bool(self._setting("cacheable", True))

    def load(self) -> dict[str, Any]:
        """Run the script's top level in a fresh namespace and return it."""
        namespace: dict[str, Any] = {"__name__": f"migration:{self.key}", "__file__": str(self.path)}
        exec(self._code, namespace)
        return namespace

    def function(self, name: str) -> Callable[..., object]:
        """Return one of the script's functions, loaded anew."""
        function: Callable[..., object] = self.load()[name]
        return function

    @cached_property
    def _code(self) -> CodeType:
        return compile(self.tree, str(self.path), "exec", dont_inherit=True)

    def call(self, name: str, migrator: Any, database: Any, *, fake: bool) -> None:
        """Call ``migrate`` or ``rollback`` as peewee_migrate does; ``fake`` is left out where it is not taken."""
        function = self.function(name)
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # one that is not written in Python
            parameters = {}.values()
        takes_fake = not parameters or any(p.name == "fake" or p.kind is p.VAR_KEYWORD for p in parameters)
        function(migrator, database, **({"fake": fake} if takes_fake else {}))

    @cached_property
    def functions(self) -> dict[str, ast.arguments | None]:
        """What the script's functions take, by name; None for one that only a run could tell of."""
        return dict(_defined(self.tree.body))

    def _takes_migrator(self, name: str) -> bool:
        """Tell whether a function can be called with a migrator and a database.

        One that comes from elsewhere counts where the file's name says that it is a migration.
        """
        if name not in self.functions:
            return False
        takes = self.functions[name]
        return self.is_numbered if takes is None else _accepts_two(takes)

    def _setting(self, name: str, default: Any) -> Any:
        return module_setting(self.tree, name, default, self.key)


def module_setting(tree: ast.Module, name: str, default: Any, owner: str) -> Any:
    """Read a module-level assignment of a literal without running the module.

    Raises ``SourceError`` when the value is not a literal.
    """
    for node in reversed(tree.body):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and name in _targets(node):
            try:
                return ast.literal_eval(node.value)
            except ValueError as error:
                raise SourceError(
                    owner,
                    f"{name} on line {node.lineno} is not a literal",
                    "Write a plain list, text or bool.",
                ) from error
    return default


def read_needs(tree: ast.Module, default: tuple[str, ...], owner: str) -> tuple[str, ...]:
    """Read ``depends_on``, a list of names or a single one.

    Raises ``SourceError`` for anything else.
    """
    value = module_setting(tree, "depends_on", default, owner)
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple | set) or not all(isinstance(name, str) for name in names):
        raise SourceError(owner, f"depends_on is {value!r}", 'Write a list of names: depends_on = ["framework"].')
    return tuple(names)


def order_of(name: str) -> tuple[int, str]:
    """Sort scripts as people number them: 999 before 1000, unnumbered ones last."""
    match = NAME.fullmatch(name)
    return (int(match[1]) if match else 10**9, name)


def _sets(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.Assign | ast.AnnAssign) and name in _targets(node)


def _targets(node: ast.Assign | ast.AnnAssign) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _defined(statements: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.arguments | None]]:
    """Yield what statements bind to a name that can be called, those in a condition too."""
    for node in statements:
        match node:
            case ast.FunctionDef():
                yield node.name, node.args
            case ast.If() if not _is_main(node.test):
                yield from _defined([*node.body, *node.orelse])
            case ast.Try() | ast.TryStar():
                handled = [statement for handler in node.handlers for statement in handler.body]
                yield from _defined([*node.body, *handled, *node.orelse, *node.finalbody])
            case ast.With():
                yield from _defined(node.body)
            case ast.ImportFrom():
                yield from ((alias.asname or alias.name, None) for alias in node.names)
            case ast.Assign() | ast.AnnAssign():
                if isinstance(node.value, ast.Lambda | ast.Name | ast.Attribute | ast.Call):
                    takes = node.value.args if isinstance(node.value, ast.Lambda) else None
                    yield from ((name, takes) for name in _targets(node))


def _is_main(test: ast.expr) -> bool:
    """Tell whether a condition asks if the script is run as a program."""
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(test))


def _positional(takes: ast.arguments) -> list[ast.arg]:
    return [*takes.posonlyargs, *takes.args]


def _required(takes: ast.arguments) -> int:
    positional = _positional(takes)
    return sum(argument.arg != "fake" for argument in positional[: len(positional) - len(takes.defaults)])


def _accepts_two(takes: ast.arguments) -> bool:
    """Tell whether ``(migrator, database, fake=...)`` or ``(migrator, database)`` fits.

    Without ``fake`` both must be asked for: ``(path="app.db", verbose=True)`` is a program of its own.
    """
    keywords = zip(takes.kwonlyargs, takes.kw_defaults, strict=True)
    wanted = {keyword.arg for keyword, value in keywords if value is None} - {"fake"}
    fits = (len(_positional(takes)) >= 2 or takes.vararg is not None) and _required(takes) <= 2 and not wanted
    named = {argument.arg for argument in (*_positional(takes), *takes.kwonlyargs)}
    return fits and (_required(takes) == 2 or "fake" in named or takes.kwarg is not None)


def _accepts_one(takes: ast.arguments) -> bool:
    first = _positional(takes)[:1]
    return _required(takes) <= 1 and bool(first) and first[0].arg in ("cursor", "cur", "c")


def _shape(tree: ast.AST) -> Iterator[str]:
    """Walk a syntax tree as lines that do not differ between Python releases.

    ``ast.dump`` will not do: what it leaves out changed in Python 3.13. It also
    recurses, and so fails on a long sum.
    """
    todo: list[ast.AST | str] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, str):
            yield node
            continue
        yield f"({type(node).__name__}"
        parts: list[ast.AST | str] = []
        for name, value in ast.iter_fields(node):
            if name in ("type_comment", "kind", "ctx", "type_params") or value is None or value == []:
                continue
            parts.append(f".{name}")
            if name == "body" and isinstance(value, list):
                value = _without_docstring(value)
            elif isinstance(node, ast.JoinedStr):
                value = _joined(value)
            for item in value if isinstance(value, list) else [value]:
                parts.append(item if isinstance(item, ast.AST) else repr(item))
        todo += reversed([*parts, ")"])


def _joined(values: list[ast.expr]) -> list[ast.expr]:
    """Put the texts of an f-string together: Python 3.12 splits some, and leaves empty ones."""
    joined: list[ast.expr] = []
    for value in values:
        last = joined[-1] if joined else None
        if isinstance(value, ast.Constant) and isinstance(last, ast.Constant):
            joined[-1] = ast.Constant(str(last.value) + str(value.value))
        elif not isinstance(value, ast.Constant) or value.value:
            joined.append(value)
    return joined


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    is_text = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return body[1:] if is_text else body
