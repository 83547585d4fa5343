"""Where migration scripts come from: our package, plugins, an app's folders."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection as AnyOf
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property, lru_cache
from graphlib import CycleError, TopologicalSorter
from importlib import util
from pathlib import Path
from typing import Protocol, TypeGuard

from framework_schema import marks, plugins
from framework_schema.errors import ConfigError, SourceError
from framework_schema.migration import NAME, Migration, Style, order_of, read_needs
from framework_schema.script_files import is_private, own_folder, read_scripts

GROUP = "framework_schema.migrations"
"""Entry point group in which a downstream package registers its scripts' package."""

FRAMEWORK = "framework"
APP = "app"
APP_FOLDERS = ("migrations", "app/migrations")
"""An app's own script folders, older location first; the last one wins."""

ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""How a system says that there is nothing of a name."""


class Source(Protocol):
    """A named set of scripts.

    ``files`` reads the bytes of every script, ``read`` also parses them; both
    raise ``SourceError``, open no database and run no script. ``depends_on``
    names sources or keys that come first.
    """

    @property
    def name(self) -> str:
        """First half of the keys of this source's scripts."""

    @property
    def depends_on(self) -> tuple[str, ...]:
        """Sources, or keys of single scripts, that run before this one."""

    def files(self) -> Iterable[Migration]:
        """Return every file that may be a script, unparsed."""

    def read(self) -> Scripts:
        """Return the scripts in run order, with what is worth saying of the place."""


@dataclass(frozen=True)
class Scripts:
    """What one source holds: its migrations, remarks, and by key why a script that should run has no place in order."""

    migrations: tuple[Migration, ...]
    notes: tuple[str, ...] = ()
    misplaced: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Folder:
    """Scripts in one folder, or in several of which a later one wins by file name."""

    path: str | Path | Sequence[str | Path]
    name: str = "app"
    depends_on: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """Return the folders in order, the one that wins last."""
        several = [self.path] if isinstance(self.path, str | Path) else self.path
        return tuple(Path(path) for path in several)

    def contents(self) -> Iterator[tuple[str, str, bytes]]:
        """Read name, path and bytes of the files of all folders; a folder that is not there is an error."""
        for folder in self.paths:
            yield from _read_in(folder, self.name)

    def files(self) -> Iterator[Migration]:
        """Read the files of all folders."""
        return (_migration(self.name, *file) for file in self.contents())

    def read(self) -> Scripts:
        """Read every script of the folders, the one in the last folder where several have it."""
        return self.scripts(self.files())

    def scripts(self, files: Iterable[Migration]) -> Scripts:
        """Choose from files that were read."""
        found: dict[str, Migration] = {}
        notes: list[str] = []
        for migration in files:
            older = found.get(migration.name)
            if older is not None:
                notes.append(f"{migration.name}.py: {migration.path} is used, {older.path} is passed over")
            found[migration.name] = migration
        return _usable(found.values(), notes)


@dataclass(frozen=True)
class Package:
    """Scripts of an installed package, such as ``homebrew.migrations``."""

    name: str
    package: str

    @property
    def depends_on(self) -> tuple[str, ...]:
        """Read ``depends_on`` of the package, by default the framework."""
        if self.name == FRAMEWORK:
            return ()
        init = self.folder / "__init__.py"
        content = init.read_bytes() if init.is_file() else b""
        return read_needs(Migration(self.name, "__init__", content, init).tree, (FRAMEWORK,), self.name)

    @cached_property
    def folder(self) -> Path:
        """Find the package's folder without importing the package itself."""
        try:
            spec = util.find_spec(self.package)
        except (Exception, SystemExit) as error:
            raise SourceError(
                self.name,
                f"package {self.package} cannot be imported ({type(error).__name__}: {error})",
                "Its migrations do not run; everything that does not depend on it does. Mend or uninstall it.",
            ) from error
        places = list(spec.submodule_search_locations or ()) if spec else []
        if not places:
            raise SourceError(
                self.name,
                f"there is no package {self.package}",
                "Install it again, or remove its entry point.",
            )
        return Path(places[0])

    def contents(self) -> Iterator[tuple[str, str, bytes]]:
        """Read name, path and bytes of the package's files."""
        return _read_in(self.folder, self.name)

    def files(self) -> Iterator[Migration]:
        """Read the files of the package."""
        return (_migration(self.name, *file) for file in self.contents())

    def read(self) -> Scripts:
        """Read every script of the package; a package without any is an error."""
        return self.scripts(self.files())

    def scripts(self, files: Iterable[Migration]) -> Scripts:
        """Choose from files that were read."""
        scripts = _usable(files, [])
        if not scripts.migrations:
            raise SourceError(
                self.name,
                f"no script found in {self.package} ({self.folder})",
                "Its wheel was probably built without them; build it with the scripts as package files.",
            )
        return scripts


@dataclass(frozen=True)
class _Reading:
    """A source whose files are read once, so that their hash and what they say are of the same bytes."""

    of: Folder | Package

    @property
    def name(self) -> str:
        return self.of.name

    @property
    def depends_on(self) -> tuple[str, ...]:
        return self.of.depends_on

    @cached_property
    def _found(self) -> tuple[tuple[str, str, bytes], ...]:
        return tuple(self.of.contents())

    def contents(self) -> Iterable[tuple[str, str, bytes]]:
        return self._found

    def files(self) -> Iterator[Migration]:
        return (_migration(self.name, *file) for file in self._found)

    def read(self) -> Scripts:
        return self.of.scripts(self.files())


def read_once(source: Source) -> Source:
    """Return a source like this one whose files are read when first asked for; one of another kind as it is."""
    return _Reading(source) if _is_ours(source) else source


def _is_ours(source: Source) -> TypeGuard[Folder | Package]:
    """Tell our own kinds from those of an author, who may derive from them and have files of another origin."""
    return isinstance(source, Folder | Package) and type(source).__module__ == __name__


@dataclass(frozen=True)
class Problem:
    """A source that cannot take part, and why; ``script`` is the key of the script that keeps it out, if one does."""

    source: str
    error: str
    script: str | None = None

    @property
    def key(self) -> str:
        """Return what did not run: the script, or the whole source."""
        return self.script or self.source


@dataclass(frozen=True)
class Collection:
    """All scripts of all sources, in run order, loaded and checked."""

    migrations: tuple[Migration, ...] = ()
    sources: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    depends_on: dict[str, frozenset[str]] = field(default_factory=dict, compare=False, repr=False)
    """For each key, the keys that have to be applied before it, of other sources or named by the script."""

    @cached_property
    def by_key(self) -> dict[str, Migration]:
        """Look scripts up by their key."""
        return {migration.key: migration for migration in self.migrations}


def framework() -> Package:
    """Return the source of our own scripts."""
    return _Framework(FRAMEWORK, "framework_schema.migrations")


@dataclass(frozen=True)
class _Framework(Package):
    @cached_property
    def folder(self) -> Path:
        return Path(own_folder())


def installed() -> tuple[Source, ...]:
    """Return the framework's scripts and those of every installed plugin."""
    if not plugins.are_installed():
        return (framework(),)
    from importlib import metadata

    points = metadata.entry_points(group=GROUP)
    found = [Package(point.name, point.value) for point in points if point.name != FRAMEWORK]
    return (framework(), *sorted(found, key=lambda plugin: plugin.name))


def chosen(sources: Iterable[Source] | None, names: Iterable[str] | None) -> tuple[Source, ...]:
    """Return the sources of these names, all when there are none; the app's own folders always.

    Without ``sources`` it chooses from those that are installed. Raises
    ``ConfigError`` for a name that neither has, with the one it resembles.
    """
    found = tuple(installed() if sources is None else sources)
    refuse_unknown(() if names is None else names, {source.name for source in found})
    return tuple(source for source in found if names is None or source.name in (*names, APP))


def refuse_unknown(names: Iterable[str], found: AnyOf[str]) -> None:
    """Raise ``ConfigError`` for a source that is neither among these nor installed."""
    unknown = [name for name in names if name not in found and name != APP]
    there = sorted({*found, *(source.name for source in installed())}) if unknown else []
    for name in unknown:
        if name not in there:
            close = get_close_matches(name, there, 1)
            hint = f"Did you mean {close[0]}?" if close else f"There are: {', '.join(there)}."
            raise ConfigError(f"there is no source {name!r}. Nothing was opened. {hint}")


def app_folders(root: str | Path) -> tuple[Source, ...]:
    """Return the source of the app's own scripts below ``root``, if it has any.

    A folder counts when it holds a numbered script or an old-style one, so that
    somebody else's ``migrations/`` (Alembic's, say) is left alone. Our own
    checkout is not an app.
    """
    if Path(root, "framework_schema", "migration.py").is_file():
        return ()
    folders = [path for path in (Path(root, folder) for folder in APP_FOLDERS) if path.is_dir()]
    own = framework().folder.resolve() if folders else None
    present = [path for path in folders if path.resolve() != own and _holds_scripts(path)]
    return (Folder(present, "app", (FRAMEWORK,)),) if present else ()


def collect(sources: Iterable[Source]) -> Collection:
    """Read all sources, put their scripts in run order, and check the whole.

    Dependencies come first, then source, then name. A source that cannot be
    read, or depends on one that cannot, becomes a problem; the others go on.
    """
    read: dict[str, Scripts] = {}
    needs: dict[str, tuple[str, ...]] = {}
    problems: list[Problem] = []
    for source in sources:
        try:
            if source.name in read:
                raise SourceError(source.name, "two sources have this name", "Rename one of them.")
            scripts = source.read()
            for migration in scripts.migrations:
                _ = migration.depends_on, migration.atomic, migration.destructive, migration.cacheable, migration.fills
            needs[source.name] = tuple(source.depends_on)
            read[source.name] = Scripts(tuple(scripts.migrations), tuple(scripts.notes), tuple(scripts.misplaced))
        except SourceError as error:
            problems.append(Problem(source.name, str(error), error.source if "/" in error.source else None))
    paths = tuple(migration.path for scripts in read.values() for migration in scripts.migrations)
    return _ordered(tuple((name, scripts, needs[name]) for name, scripts in read.items()), tuple(problems), paths)


@lru_cache(maxsize=16)
def _ordered(
    sources: tuple[tuple[str, Scripts, tuple[str, ...]], ...], unread: tuple[Problem, ...], paths: tuple[Path, ...]
) -> Collection:
    """Put scripts in run order, each source's with what it depends on; the same ones of the same files once a process.

    Scripts are equal wherever they lie, so their ``paths`` are asked for beside them.
    """
    read = {name: scripts for name, scripts, _ in sources}
    needs = {name: depends_on for name, _, depends_on in sources}
    misplaced = [Problem(name, why, key) for name, scripts in read.items() for key, why in scripts.misplaced]
    problems = [*unread, *misplaced, *_drop_unmet(read, needs), *_drop_cycles(read, needs)]
    edges = _edges(read, needs)
    return Collection(
        tuple(_sorted(read, edges)),
        tuple(read),
        tuple(problems),
        tuple(note for scripts in read.values() for note in scripts.notes),
        {key: frozenset(before) for key, before in edges.items()},
    )


def fingerprint(sources: Iterable[Source]) -> str | None:
    """Hash all that the sources hold, byte for byte and unparsed: cheap enough for every start of a process.

    None when a source cannot be read: then nothing may be taken for known.
    """
    try:
        return marks.fingerprint((source.name, source.depends_on, _contents(source)) for source in sources)
    except SourceError:
        return None


def restrict(known: Collection, sources: AnyOf[str]) -> Collection:
    """Return the part of a collection that comes from these sources."""
    return replace(
        known,
        migrations=tuple(migration for migration in known.migrations if migration.source in sources),
        sources=tuple(source for source in known.sources if source in sources),
        problems=tuple(problem for problem in known.problems if problem.source in sources),
    )


def _contents(source: Source) -> Iterator[tuple[str, bytes]]:
    """Read the files of a source; of our own kinds without making anything of them."""
    if isinstance(source, _Reading) or _is_ours(source):
        return ((name, content) for name, _, content in source.contents())
    return ((file.name, file.content) for file in source.files())


def _read_in(folder: Path, source: str) -> Iterator[tuple[str, str, bytes]]:
    try:
        yield from read_scripts(os.fspath(folder))
    except ValueError as error:  # a name that no file can have
        raise _no_folder(folder, source) from error
    except OSError as error:
        if error.errno in ABSENT and error.filename == os.fspath(folder):
            raise _no_folder(folder, source) from error
        problem = f"{error.filename} cannot be read ({error.strerror})"
        raise SourceError(source, problem, "Give this user permission to read it.") from error


def _no_folder(folder: Path, source: str) -> SourceError:
    return SourceError(source, f"there is no folder {folder}", "Create it, or name the right one.")


@lru_cache(maxsize=1024)
def _migration(source: str, name: str, path: str, content: bytes) -> Migration:
    """Return one value for one script, so that it is parsed and compiled once in a process."""
    return Migration(source, name, content, Path(path))


def _usable(migrations: Iterable[Migration], notes: list[str]) -> Scripts:
    """Choose the migrations: all that have a number, and old-style scripts.

    One with a number that cannot be called is among them, pending until it fails: what comes after
    it may count on it. A file without a number that nobody calls is no migration, and worth a remark.
    """
    usable, misplaced = [], []
    for migration in sorted(migrations, key=lambda migration: order_of(migration.name)):
        if migration.is_numbered or migration.style is Style.CURSOR:
            usable.append(migration)
        elif migration.style is Style.PEEWEE:
            why = f"{migration.key} is not run: its name is not NNN_name.py. Rename it; with _ first it is none."
            misplaced.append((migration.key, why))
        else:
            notes.append(f"{migration.key} is not run: {migration.unsupported}")
    return Scripts(tuple(usable), tuple(notes), tuple(misplaced))


def _holds_scripts(folder: Path) -> bool:
    if (folder / "env.py").exists():
        return False
    return any(
        NAME.fullmatch(path.stem) or b"def apply_migration(" in path.read_bytes()
        for path in folder.glob("*.py")
        if not is_private(path.stem)
    )


def _owner(need: str) -> str:
    return need.split("/", 1)[0]


def _drop_unmet(read: dict[str, Scripts], needs: dict[str, tuple[str, ...]]) -> list[Problem]:
    """Take out every source that needs something absent, until none is left."""
    problems: list[Problem] = []
    while True:
        keys = {migration.key for scripts in read.values() for migration in scripts.migrations}
        unmet = next(
            (
                (name, need)
                for name, scripts in read.items()
                for need in (*needs[name], *(n for m in scripts.migrations for n in m.depends_on))
                if (need not in keys if "/" in need else need not in read)
            ),
            None,
        )
        if unmet is None:
            return problems
        name, need = unmet
        del read[name]
        problems.append(Problem(name, f"{name}: it depends on {need}, which is not there. Install or mend that first."))


def _drop_cycles(read: dict[str, Scripts], needs: dict[str, tuple[str, ...]]) -> list[Problem]:
    problems: list[Problem] = []
    while True:
        try:
            TopologicalSorter(_edges(read, needs)).prepare()
        except CycleError as error:
            cycle = sorted({_owner(key) for key in error.args[1]} - {FRAMEWORK})
            names = " -> ".join(error.args[1])
            for name in cycle or [_owner(error.args[1][0])]:
                del read[name]
                problems.append(Problem(name, f"{name}: its dependencies form a cycle ({names}). Remove one of them."))
            problems += _drop_unmet(read, needs)
        else:
            return problems


def _edges(read: dict[str, Scripts], needs: dict[str, tuple[str, ...]]) -> dict[str, set[str]]:
    """Return for each script what comes before it; in a source whose scripts name none of their own, the one before.

    A number says that a script counts on those with a lower one. Old-style
    scripts without a number were written one at a time, each run by itself, in
    any order and with a test of its own: so each stands alone. One that needs
    another's table fails by itself where that is not there.
    """
    of_source = {name: [m.key for m in scripts.migrations] for name, scripts in read.items()}
    edges: dict[str, set[str]] = {}
    for name, scripts in read.items():
        is_chain = not _names_its_own(scripts.migrations)
        before: set[str] = set()
        for migration in scripts.migrations:
            wanted = {key for need in (*needs[name], *migration.depends_on) for key in of_source.get(need, [need])}
            is_link = is_chain and (migration.is_numbered or migration.style is not Style.CURSOR)
            edges[migration.key] = wanted | (before if is_link else set())
            before = {migration.key} if is_link else before
    return edges


def _names_its_own(scripts: Sequence[Migration]) -> bool:
    """Tell whether scripts say which of their own source they need, each one an earlier one."""
    place = {migration.key: number for number, migration in enumerate(scripts)}
    own = [(place[need], place[m.key]) for m in scripts for need in m.depends_on if need in place]
    return bool(own) and all(before < after for before, after in own)


def _sorted(read: dict[str, Scripts], edges: dict[str, set[str]]) -> Iterator[Migration]:
    known = {migration.key: migration for scripts in read.values() for migration in scripts.migrations}
    rank = {name: number for number, name in enumerate(read)}
    sorter = TopologicalSorter(edges)
    sorter.prepare()
    ready: list[str] = []
    while sorter.is_active():
        ready += sorter.get_ready()
        ready.sort(key=lambda key: (rank[_owner(key)], order_of(known[key].name)))
        key = ready.pop(0)
        yield known[key]
        sorter.done(key)
