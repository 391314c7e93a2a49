"""Where the project's files are, and writing them so that no half-written one is ever seen."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from lmkit.config import InputError


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


def cache_dir() -> Path:
    """Where decoded images are kept between runs: $LMKIT_CACHE, else the user's cache folder."""
    chosen = os.environ.get("LMKIT_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(chosen) if chosen else Path(base) / "lmkit"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: expected a cache folder to write to, got: {error.strerror}; "
            "name another one in LMKIT_CACHE"
        ) from None
    return folder


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it takes the name only when all went well.

    Raises: InputError naming the path when the place cannot be written to or is full.
    """
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        part = Path(name)
        yield part
        os.chmod(part, 0o666 & ~_umask())
        os.replace(part, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{path}: expected a place to write to, got: {reason}") from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def remove_stale_parts(folder: Path, older_than_s: float = 0) -> None:
    """Delete what killed processes left half-written in a folder."""
    for part in folder.glob(".*.part"):
        if time.time() - part.stat().st_mtime >= older_than_s:
            part.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in one step, UTF-8."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` in one step; NaN is not JSON and raises."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


class _NoAliases(yaml.SafeLoader):
    """Plain values only: a few aliases of aliases would stand for gigabytes of text."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            problem = f"expected a plain value, got the alias *{event.anchor}"
            raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)


def read_yaml(path: Path, *, aliases: bool = True) -> dict[str, Any]:
    """The mapping in a YAML file; plain values only, no tags.

    Args:
        aliases: whether *name may stand for a value given before.
    Raises: InputError naming the file (and line) when it is missing or not a mapping.
    """
    loader = yaml.SafeLoader if aliases else _NoAliases
    try:
        value = yaml.load(path.read_text(encoding="utf-8-sig"), loader)
    except RecursionError:
        raise InputError(f"{path}: expected YAML, got lists nested too deeply") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a readable YAML file, got {error}") from None
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" line {where.line + 1}" if where else ""
        problem = getattr(error, "problem", None) or "not YAML"
        raise InputError(f"{path}{line}: expected YAML, got: {problem}") from None
    except ValueError as error:  # a date such as 2024-13-45
        raise InputError(f"{path}: expected YAML, got: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected lines of `key: value`, got {type(value).__name__}")
    return value
