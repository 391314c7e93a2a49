"""A report as one HTML file: text, figures and tables, no code, nothing fetched from elsewhere."""

from __future__ import annotations

import base64
import io
import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lmkit import __version__
from lmkit.fields import InputError
from lmkit.files import atomic_path, write_text
from lmkit.tables import NOTHING, plain_name

Item: TypeAlias = Figure | pd.DataFrame | str

DPI, CSS_DPI = 144, 96  # drawn finer than it is shown, for sharp screens and paper
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
NUMBERLIKE = re.compile(r"[-−+<≤≥>±]?\s*(\d([\d\s.,()–−+%±×e-]|\bto\b)*|inf)|–")
LONG = 5  # words: a column with such a cell is text, and wide enough to read
NOT_IN_HTML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")

STYLE = """
:root { color-scheme: light }
body { margin: 0 auto; padding: 1.5rem; max-width: 66rem; background: #fff; color: #1c1c1c;
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .5rem; border-bottom: 1px solid #ccc }
p { max-width: 44rem; margin: .6rem 0 }
pre { overflow-x: auto; background: #f5f5f5; padding: .6rem; font-size: .85rem }
a { color: #00578a }
nav ol { margin: .3rem 0; padding-left: 1.5rem }
.note { border-left: 4px solid #0072B2; padding-left: .8rem }
.wide { overflow-x: auto; margin: .8rem 0 }
figure { margin: .8rem 0 }
img { max-width: 100%; height: auto }
table { border-collapse: collapse; font-size: .82rem; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .4rem; border-bottom: 1px solid #ddd; text-align: left;
  vertical-align: top }
thead th, thead th.n { border-bottom: 2px solid #888; vertical-align: bottom; white-space: normal }
tbody th { font-weight: normal; white-space: nowrap }
.n { text-align: right; white-space: nowrap }
.t { min-width: 7rem }
summary { cursor: pointer }
footer { margin-top: 3rem; border-top: 1px solid #ccc; color: #555; font-size: .85rem }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt }
  h2 { break-after: avoid } figure, tr { break-inside: avoid }
  .wide { overflow: visible } .n { white-space: normal } .t { min-width: 0 }
}
"""


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Attributes:
        title: names the section here and in the table of contents.
        text: plain; blank lines part paragraphs.
        items: figures, tables and further texts, in order; a text of several lines keeps them.
    """

    title: str
    text: str = ""
    items: Sequence[Item] = ()


def write_report(
    path: Path,
    title: str,
    sections: Sequence[Section],
    settings: Mapping[str, object] | None = None,
    note: str = "",
) -> Path:
    """Write a report as one HTML file, whole or not at all.

    The file needs no script and no network: figures are in it as PNG. Names may hold any signs.

    Args:
        settings: of the run, shown folded at the end.
        note: one thing to know before reading, under the title.
    Returns: `path`.
    Raises: InputError for an item that is no figure, table or text, or a place that cannot be
        written to.
    """
    contents = "".join(
        f'<li><a href="#s{i}">{_text(s.title)}</a></li>' for i, s in enumerate(sections, 1)
    )
    parts = [f"<h1>{_text(title)}</h1>"]
    if note:
        parts.append(f'<div class="note">{_paragraphs(note)}</div>')
    parts.append(f'<nav aria-label="Contents"><ol>{contents}</ol></nav><main>')
    parts += [_section(section, i) for i, section in enumerate(sections, 1)]
    if settings:
        exact = {key: NOTHING if v is None else str(v) for key, v in settings.items()}
        table = pd.DataFrame({"setting": exact.keys(), "value": exact.values()})
        folded = _table(table, "Settings")
        parts.append(f"<details><summary>Settings</summary>{folded}</details>")
    now = datetime.now().astimezone()
    parts.append(
        f'</main><footer><p>Written <time datetime="{now.isoformat(timespec="seconds")}">'
        f"{now:%Y-%m-%d %H:%M}</time> by lmkit {__version__}.</p></footer>"
    )
    write_text(path, _page(title, "\n".join(parts)))
    return path


def tables_to_csv(folder: Path, tables: Mapping[str, pd.DataFrame]) -> list[Path]:
    """The numbers behind a report, unrounded, a CSV file per table.

    Args:
        tables: name -> table; the file is named after it, other signs than letters, digits and
            -_. becoming _. The index is written unless it only counts the rows.
    Returns: the files, in order.
    Raises: InputError when two tables would share a file.
    """
    paths: list[Path] = []
    for name, table in tables.items():
        path = folder / f"{plain_name(name)}.csv"
        if path in paths:
            raise InputError(f"{path}: expected tables of different names, got {name!r} beside it")
        with atomic_path(path) as part:
            table.to_csv(part, index=not isinstance(table.index, pd.RangeIndex))
        paths.append(path)
    return paths


def _page(title: str, body: str) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _section(section: Section, number: int) -> str:
    parts = [f'<section id="s{number}"><h2>{_text(section.title)}</h2>', _paragraphs(section.text)]
    for place, item in enumerate(section.items, 1):
        if isinstance(item, Figure):
            parts.append(_figure(item, section.title))
        elif isinstance(item, pd.DataFrame):
            parts.append(_table(item, section.title))
        elif isinstance(item, str):
            parts.append(f"<pre>{_text(item)}</pre>" if "\n" in item else _paragraphs(item))
        else:
            raise InputError(
                f"section {section.title!r}, item {place}: expected a figure, a table or a text, "
                f"got {type(item).__name__}"
            )
    return "\n".join([*parts, "</section>"])


def _text(value: object) -> str:
    """Escaped for HTML, in attributes too; signs that no page may hold become a square."""
    clean = NOT_IN_HTML.sub("\ufffd", str(value)).encode("utf-8", "replace").decode("utf-8")
    return escape(clean, quote=True)


def _paragraphs(text: str) -> str:
    blocks = [block for block in re.split(r"\n\s*\n", text) if block.strip()]
    return "\n".join(f"<p>{_text(block.strip())}</p>" for block in blocks)


def _figure(figure: Figure, title: str) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", facecolor="white")
    data = buffer.getvalue()
    width, height = (size * CSS_DPI // DPI for size in struct.unpack(">II", data[16:24]))
    return (
        f'<figure><img width="{width}" height="{height}" alt="{_text(_said(figure, title))}" '
        f'src="data:image/png;base64,{base64.b64encode(data).decode()}"></figure>'
    )


def _said(figure: Figure, title: str) -> str:
    """What a figure shows, for those who cannot see it: its titles and what its axes say."""
    said = [figure.get_suptitle()]
    for ax in figure.axes:
        axes = " over ".join(label for label in (ax.get_ylabel(), ax.get_xlabel()) if label)
        said.append(", ".join(part for part in (ax.get_title(), axes) if part))
    whole = "; ".join(dict.fromkeys(part for part in said if part))
    whole = " ".join(whole.replace(r"\$", "$").split())
    return f"{title}: {whole}" if whole else title


def _table(table: pd.DataFrame, title: str) -> str:
    """Semantic, numbers to the right, in a box that scrolls; the index unless it only counts."""
    named = not isinstance(table.index, pd.RangeIndex)
    lead = [table.index.get_level_values(i) for i in range(table.index.nlevels)] if named else []
    columns = [_texts(values) for values in lead]
    columns += [_texts(table.iloc[:, i]) for i in range(table.shape[1])]
    heads = [str(name or "") for name in table.index.names] if named else []
    heads += [", ".join(map(str, c)) if isinstance(c, tuple) else str(c) for c in table.columns]
    aligned = [_kind(cells) for cells in columns]
    head = "".join(
        f'<th scope="col"{kind}>{_text(name)}</th>'
        for name, kind in zip(heads, aligned, strict=True)
    )
    rows = []
    for cells in zip(*columns, strict=True):
        tags = ['th scope="row"'] * len(lead) + ["td"] * table.shape[1]
        rows.append(
            "".join(
                f"<{tag}{kind}>{_text(cell)}</{tag[:2]}>"
                for tag, kind, cell in zip(tags, aligned, cells, strict=True)
            )
        )
    body = "".join(f"<tr>{row}</tr>\n" for row in rows)
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{_text(title)}, table"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"
    )


def _kind(cells: Sequence[str]) -> str:
    """The class of a column: n for numbers, which stay on a line, t for long texts."""
    if all(map(NUMBERLIKE.fullmatch, cells)):
        return ' class="n"'
    return ' class="t"' if any(len(cell.split()) >= LONG for cell in cells) else ""


def _texts(values: pd.Series | pd.Index) -> list[str]:
    """The cells of a column as text, its numbers with the same decimals."""
    cells = [value.item() if isinstance(value, np.generic) else value for value in values]
    known = [abs(v) for v in cells if isinstance(v, float) and math.isfinite(v)]
    top = max(known, default=0.0)
    decimals = 0 if all(v.is_integer() for v in known) else 1 if top >= 100 else 2
    return [_cell(value, 3 if decimals == 2 and top < 1 else decimals) for value in cells]


def _cell(value: object, decimals: int) -> str:
    if isinstance(value, list | tuple | np.ndarray):
        return ", ".join(_texts(pd.Series(list(value), dtype=object)))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value is pd.NA or value is pd.NaT:
        return NOTHING
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return NOTHING
    if 0 < abs(value) < 0.5 * 10**-decimals:  # would read as zero
        return f"{value:.1g}"
    return f"{value:.{decimals}f}"
