"""Where the project's files are, and writing them so that no half-written one is ever seen."""

from __future__ import annotations

import errno
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from lmkit.fields import InputError
from lmkit.locks import NoLocks, take

UNLOCKED_S = 24 * 3600.0  # age of a part that nobody writes any more, where there are no locks


def project_root() -> Path:
    """The folder with params/ and notebooks/: the package's own, else the nearest above the cwd."""
    here = Path.cwd()
    for folder in (Path(__file__).resolve().parent.parent, here, *here.parents):
        if (folder / "params").is_dir() and (folder / "notebooks").is_dir():
            return folder
    raise InputError(
        f"project folder: expected params/ and notebooks/ beside the package or above {here}, "
        "found neither; run from the project folder"
    )


def shown_path(path: Path) -> str:
    """A path to print: from the project or the current folder where it lies in one, else whole."""
    inside = [base for base in (project_root(), Path.cwd()) if path.is_relative_to(base)]
    return str(path.relative_to(inside[0]) if inside else path)


def path_of(text: str | Path, what: str) -> Path:
    """A path as a user gives it, ~ being the home folder.

    Args:
        what: the setting it was given for, for the message.
    Raises: InputError for the home folder of a user who is not there, or no path at all.
    """
    try:
        path = Path(text).expanduser()
        path.stat()  # a path that can be none says so here, and not where it is used
    except RuntimeError:
        raise InputError(f"{what}: expected a path, got {str(text)!r}: no such user") from None
    except ValueError:
        raise InputError(f"{what}: expected a path, got {str(text)!r}") from None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            got = f"{str(text)[:80]!r}: {error.strerror}"
            raise InputError(f"{what}: expected a path, got {got}") from None
    return path


def cache_dir() -> Path:
    """Where decoded images are kept between runs: $LMKIT_CACHE, else the user's cache folder."""
    chosen = os.environ.get("LMKIT_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(chosen) if chosen else Path(base) / "lmkit"
    advice = "; name another one in LMKIT_CACHE"
    with writing(folder, "a cache folder to write to", advice):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def writing(path: Path, what: str = "a place to write to", advice: str = "") -> Iterator[None]:
    """A full disk, a folder that is read-only or of somebody else: one line about `path`.

    Raises: InputError in place of what the system raises.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path}: expected {what}, got: {reason}{advice}") from None


@contextmanager
def atomic_path(path: Path, advice: str = "") -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the name only when all went well.

    Args:
        advice: what to do when it cannot be written to, for the error's end.
    Raises: InputError naming the path when the place cannot be written to or is full.
    """
    part, handle = None, -1
    try:
        with writing(path, advice=advice):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, part = _new_part(path)
            yield part
            os.chmod(part, 0o666 & ~_umask())
            os.replace(part, path)
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
            os.close(handle)


def _new_part(path: Path) -> tuple[int, Path]:
    """An empty file to write to, open and locked, so that nobody takes it for one left behind."""
    while True:
        handle, name = tempfile.mkstemp(".part", f".{path.name}.", path.parent)
        part = Path(name)
        try:
            if take(handle, part) and part.exists():
                return handle, part
        except InputError:
            return handle, part  # no locks: `remove_stale_parts` goes by its age
        os.close(handle)  # it was taken for one left behind before it was locked


def remove_stale_parts(folder: Path, older_than_s: float = 0) -> None:
    """Delete what killed processes left half-written in a folder; what is being written stays.

    A part is locked while it is written; where there are no locks, a day has to have passed.
    """
    for part in folder.glob(".*.part"):
        try:
            age_s = time.time() - part.stat().st_mtime
            with part.open("rb+") as file:
                locks = _can_lock(file, part)
                if age_s >= older_than_s and (age_s >= UNLOCKED_S if locks is None else locks):
                    part.unlink(missing_ok=True)
        except (OSError, InputError):
            continue  # gone meanwhile, or somebody else's


def _can_lock(file: Any, path: Path) -> bool | None:
    """Whether nobody writes a part; None where the file system has no locks."""
    try:
        return take(file, path)
    except NoLocks:
        return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in one step, UTF-8."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def json_text(value: Any) -> str:
    """`value` as a JSON file holds it. Raises: ValueError for NaN and infinity, which are none."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` in one step; NaN is not JSON and raises."""
    write_text(path, json_text(value))


MOST_NODES = 100_000  # values in a YAML file, an alias counting as all that it stands for


class _Unique(yaml.SafeLoader):
    """Plain values, each key of a mapping once: of two the last would count, unsaid."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node, seen = super().compose_mapping_node(anchor), set()
        for key, _ in node.value:
            said = key.tag, key.value if isinstance(key, yaml.ScalarNode) else id(key)
            if said in seen:
                problem = f"the key {key.value[:80]!r} again, given before"
                raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
            seen.add(said)
        return node


class _Bounded(_Unique):
    """Plain values and aliases of them, as long as they do not stand for a flood of values."""

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None and _count(node, {}) > MOST_NODES:
            problem = f"expected up to {MOST_NODES} values, got more by aliases"
            raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
        return node


def _count(node: Any, known: dict[int, float]) -> float:
    """The values that a YAML node stands for; infinity where it holds itself."""
    if id(node) not in known:
        known[id(node)] = math.inf  # until it is counted
        inner = node.value if isinstance(node, yaml.CollectionNode) else ()
        parts = [part for item in inner for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_count(part, known) for part in parts)
    return known[id(node)]


class _NoAliases(_Unique):
    """Plain values only: a few aliases of aliases would stand for gigabytes of text."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            problem = f"expected a plain value, got the alias *{event.anchor}"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)


def read_yaml(path: Path, *, aliases: bool = True) -> dict[str, Any]:
    """The mapping in a YAML file; plain values only, no tags.

    Args:
        aliases: whether *name may stand for a value given before.
    Raises: InputError naming the file (and line) when it is missing or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: expected a YAML file, found none") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a readable YAML file, got {error}") from None
    value = plain_yaml(text, str(path), aliases=aliases)
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected lines of `key: value`, got {type(value).__name__}")
    return value


def plain_yaml(text: str, where: str, *, aliases: bool = True) -> Any:
    """What a YAML text says; plain values only, no tags, and no flood of aliases.

    Args:
        where: for messages.
        aliases: whether *name may stand for a value given before.
    Raises: InputError.
    """
    try:
        return yaml.load(text, _Bounded if aliases else _NoAliases)
    except RecursionError:
        raise InputError(f"{where}: expected YAML, got lists nested too deeply") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise InputError(f"{where}{line}: expected YAML, got: {problem}") from None
    except ValueError as error:  # a date such as 2024-13-45
        raise InputError(f"{where}: expected YAML, got: {error}") from None
    except (AttributeError, LookupError, TypeError):  # a tag and a text it does not fit: !!bool x
        raise InputError(f"{where}: expected YAML without tags, got one") from None
