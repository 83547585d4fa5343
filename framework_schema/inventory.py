"""Which databases there are: from targets on the command line, from ``fleet.toml``."""

from __future__ import annotations

import glob
import os
import stat
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from framework_schema.errors import ConfigError

INVENTORY = "fleet.toml"
DATA = "data"
SUFFIX = ".db"
SIDE_FILES = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database; part of it, never a member."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Member:
    """One database of a fleet, and what the inventory says of it.

    ``url`` is a path or a URL. ``plugins`` get applied besides those whose
    rows the database carries already; ``folders`` are its own script folders.
    ``settings`` are those of ``Config`` that differ for it. ``explicit`` is
    true for one that was named itself and not found in a folder; ``problem``
    says why what was found there cannot be a database.
    """

    name: str
    url: str
    plugins: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()
    adopt_foreign: bool = False
    explicit: bool = False
    problem: str | None = None

    @property
    def path(self) -> Path | None:
        """Return the SQLite file, None for a server."""
        if not is_url(self.url):
            return Path(self.url)
        scheme, _, rest = self.url.partition("://")
        if not scheme.lower().startswith("sqlite"):
            return None
        return Path(unquote(rest.partition("?")[0].removeprefix("/")))

    @property
    def labels(self) -> tuple[str, ...]:
        """Return what ``--database`` may call it: name, file name, file name without ending."""
        path = self.path
        return (self.name,) if path is None else (self.name, path.name, path.stem)


@dataclass(frozen=True, slots=True)
class Inventory:
    """The members in the order of the targets, and remarks on what was passed over."""

    members: tuple[Member, ...] = ()
    notes: tuple[str, ...] = ()


def is_url(target: str) -> bool:
    """Tell a URL from a path: it has a scheme."""
    scheme, separator, _ = target.partition("://")
    return bool(separator) and scheme[:1].isalpha() and scheme.replace("+", "").isalnum()


def read_targets(targets: Sequence[str | os.PathLike[str]] = (), root: str | Path = ".") -> Inventory:
    """Return the databases that targets name; without any, those of ``fleet.toml`` or ``data/`` in ``root``.

    A target is a file, a folder (``*.db`` in it, not below it), a glob, a URL,
    ``@file`` with one target a line, or an inventory (``*.toml``). A file
    reached twice counts once, as named if it was named. Opens no database.

    Raises ``ConfigError`` for a target that yields nothing.
    """
    notes: list[str] = []
    names = [os.fspath(target) for target in targets or _default(Path(root))]
    found = [member for name in names for member in (_named(name, Path(root)) or _of_target(name, notes))]
    return Inventory(tuple(_once(found)), tuple(notes))


def select(members: Sequence[Member], names: Iterable[str]) -> tuple[Member, ...]:
    """Return the members with one of these names, all of them when there is no name.

    Raises ``ConfigError`` for a name that no member has, with those it resembles.
    """
    wanted = list(names)
    labels = sorted({label for member in members for label in member.labels})
    for name in wanted:
        if name not in labels:
            close = ", ".join(get_close_matches(name, labels, 5, 0.5))
            hint = f"Did you mean: {close}?" if close else f"There are: {', '.join(m.name for m in members[:10])}."
            raise ConfigError(f"there is no database {name!r} among the {len(members)}. Nothing was opened. {hint}")
    return tuple(member for member in members if not wanted or set(wanted) & set(member.labels))


def shard(members: Sequence[Member], part: str | None) -> tuple[Member, ...]:
    """Return every N-th member from the K-th on, by place in the sorted list, for ``K/N``.

    Raises ``ConfigError`` when the text is not ``K/N`` with 1 <= K <= N.
    """
    if part is None:
        return tuple(members)
    number, slash, of = part.partition("/")
    if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise ConfigError(f"--shard {part} is not K/N with K from 1 to N. Nothing was opened.")
    mine = set(sorted((member.name, member.url) for member in members)[int(number) - 1 :: int(of)])
    return tuple(member for member in members if (member.name, member.url) in mine)


def _default(root: Path) -> list[Path]:
    for place in (root / INVENTORY, root / DATA):
        if place.exists():
            return [place if root != Path() else Path(place.name)]
    raise ConfigError(
        f"no database was named, and there is neither {INVENTORY} nor {DATA}/ here. Nothing was opened. "
        "Name files, folders, globs or URLs: framework-schema migrate data/homebrew.db"
    )


def _named(target: str, root: Path) -> tuple[Member, ...]:
    """Return the database that the inventory here calls so, where there is no such file."""
    file = root / INVENTORY
    is_name = not (is_url(target) or target.startswith("@") or glob.has_magic(target) or os.path.lexists(target))
    if not is_name or not file.is_file():
        return ()
    return tuple(member for member in read_inventory(file) if target in member.labels)


def _of_target(target: str, notes: list[str]) -> Iterator[Member]:
    if is_url(target):
        yield Member(_url_name(target), target, explicit=True)
    elif target.startswith("@"):
        for line in _lines(target[1:]):
            yield from _of_target(line, notes)
    elif target.endswith(".toml"):
        yield from read_inventory(target, notes)
    elif _is_folder(Path(target)):
        yield from _in_folder(Path(target), notes)
    elif os.path.lexists(target) or not glob.has_magic(target):
        yield Member(target, target, explicit=True, problem=_not_a_file(Path(target)))
    else:
        yield from _matching(target, notes)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False


def _url_name(url: str) -> str:
    from framework_schema.databases import hide_password

    return hide_password(url)


def _lines(name: str) -> list[str]:
    """Read one target a line; empty lines and those that begin with # do not count."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise ConfigError(f"@{name}: the list cannot be read ({error.strerror}). Nothing was opened.") from error
    lines = [line.strip() for line in text.splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise ConfigError(f"@{name}: the list names no database. Nothing was opened.")
    return found


def _in_folder(folder: Path, notes: list[str]) -> Iterator[Member]:
    """Yield the databases in a folder by name; like the shell's ``*.db``, so no hidden file."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == SUFFIX and path.name[0] != ".")
    except OSError as error:
        raise ConfigError(f"{folder}: the folder cannot be read ({error.strerror}). Nothing was opened.") from error
    found = list(_found(paths, notes))
    if not found:
        raise ConfigError(f"{folder}: there is no *{SUFFIX} file in this folder. Nothing was opened.")
    yield from found


def _matching(pattern: str, notes: list[str]) -> Iterator[Member]:
    """Yield what a glob matches; a folder it matches counts with the databases in it."""
    names = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
    matches = [Path(name) for name in names if not name.endswith(SIDE_FILES)]
    if not matches:
        raise ConfigError(f"{pattern}: nothing matches. Nothing was opened.")
    for path in matches:
        if path.is_dir() and path.suffix != SUFFIX:
            if any(entry.suffix == SUFFIX for entry in path.iterdir()):
                yield from _in_folder(path, notes)
        else:
            yield from _found([path], notes)


def _found(paths: Iterable[Path], notes: list[str]) -> Iterator[Member]:
    for path in paths:
        if path.is_symlink() and path.resolve().parent != path.parent.resolve():
            notes.append(f"{path} is a link out of its folder and was left alone; name it to have it migrated")
        else:
            yield Member(str(path), str(path), problem=_not_a_file(path))


def _not_a_file(path: Path) -> str | None:
    """Say what stands in a database's place, so that nobody opens a pipe and waits."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return None
    if stat.S_ISREG(mode):
        return None
    return "this is a directory, not a database file" if stat.S_ISDIR(mode) else "this is no regular file"


def _once(members: Iterable[Member]) -> Iterator[Member]:
    """Keep the first of several members that are one file; it is explicit when one of them is."""
    first: dict[str, Member] = {}
    for member in members:
        place = member.url if member.path is None else str(member.path.resolve())
        known = first.setdefault(place, member)
        if member.explicit and not known.explicit:
            first[place] = replace(known, explicit=True, url=member.url)
    yield from first.values()


# fleet.toml


def read_inventory(path: str | Path, notes: list[str] | None = None) -> Iterator[Member]:
    """Yield the members of an inventory file; what is relative in it is relative to its folder.

        [defaults]                      # any setting below, for all databases
        timeout = 10

        [[database]]
        path = "data/homebrew.db"       # file, folder or glob; or url = "...", or url_env = "CRM_URL"
        name = "homebrew"
        plugins = ["homebrew"]          # besides those whose rows it carries
        folders = ["apps/homebrew/migrations"]
        align = "strict"                # also backup, backup_dir, backup_keep, integrity, table, timeout
        adopt_foreign = true

    Raises ``ConfigError`` that names file, entry and key.
    """
    file = Path(path)
    data = _parsed(file)
    _only(file, "the file", data, {"defaults": _is_table, "database": _is_tables})
    defaults = data.get("defaults", {})
    _only(file, "[defaults]", defaults, SHARED)
    entries = data.get("database", [])
    if not entries:
        raise ConfigError(f"{file}: there is no [[database]] in it. Nothing was opened.")
    for number, entry in enumerate(entries, 1):
        place = f"[[database]] number {number}"
        _only(file, place, entry, SHARED | ENTRY)
        yield from _entry(file, place, {**defaults, **entry}, [] if notes is None else notes)


def _entry(file: Path, place: str, entry: Mapping[str, Any], notes: list[str]) -> Iterator[Member]:
    given = [key for key in ("path", "url", "url_env") if key in entry]
    if len(given) != 1:
        raise ConfigError(f"{file}: {place} needs one of path, url, url_env; it has {', '.join(given) or 'none'}.")
    target = _target(file, place, given[0], entry[given[0]])
    found = list(_of_target(target, notes)) if target else [_without_url(entry["url_env"])]
    if "name" in entry and len(found) != 1:
        raise ConfigError(f"{file}: {place} has a name and stands for {len(found)} databases; leave name out.")
    for member in found:
        yield replace(
            member,
            name=entry.get("name", member.name),
            plugins=tuple(entry.get("plugins", ())),
            folders=tuple(str(file.parent / folder) for folder in entry.get("folders", ())),
            settings=tuple((key, entry[key]) for key in SETTINGS if key in entry),
            adopt_foreign=entry.get("adopt_foreign", False),
        )


def _target(file: Path, place: str, key: str, value: str) -> str:
    if key == "path":
        return str(file.parent / value)
    if key == "url":
        if not is_url(value):
            raise ConfigError(f"{file}: url of {place} has no scheme; use path for a file.")
        return value
    if not os.environ.get(value):
        return ""
    return os.environ[value]


def _without_url(name: str) -> Member:
    """Return the member of which the environment does not say where it is; the others have nothing to do with it."""
    problem = f"its url_env is {name}, which the environment does not have"
    return Member(name, f"env://{name}", explicit=True, problem=problem)


def _parsed(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: the inventory cannot be read ({error.strerror}). Nothing was opened.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: this is no valid TOML ({error}). Nothing was opened.") from error


def _only(file: Path, place: str, table: Mapping[str, Any], known: Mapping[str, Callable[[Any], bool]]) -> None:
    """Refuse a key that means nothing and a value of the wrong kind."""
    for key, value in table.items():
        if key not in known:
            close = get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"it can have {', '.join(known)}"
            raise ConfigError(f"{file}: {place} has the key {key!r}, which means nothing; {hint} Nothing was opened.")
        if not known[key](value):
            raise ConfigError(f"{file}: {key} in {place} is {value!r}, which it cannot be. Nothing was opened.")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_table, value))


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_one_of(*choices: str) -> Callable[[Any], bool]:
    return lambda value: value in choices


SETTINGS: dict[str, Callable[[Any], bool]] = {
    "align": _is_one_of("additive", "strict", "off"),
    "backup": _is_one_of("auto", "always", "never"),
    "backup_dir": _is_text,
    "backup_keep": _is_count,
    "integrity": _is_one_of("auto", "always"),
    "table": _is_text,
    "timeout": _is_number,
}
SHARED = SETTINGS | {"plugins": _is_texts, "folders": _is_texts, "adopt_foreign": _is_flag}
ENTRY: dict[str, Callable[[Any], bool]] = {"name": _is_text, "path": _is_text, "url": _is_text, "url_env": _is_text}
