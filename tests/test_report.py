"""The HTML report: everything escaped, everything inside it, numbers as they should read."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from lmkit import __version__
from lmkit.config import InputError
from lmkit.report import Section, tables_to_csv, write_report

NASTY = "<script>alert('1')</script>\n\"m3\" & $x$"


class Page(HTMLParser):
    """What a browser would find: tags with their attributes, and the text of cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "!doctype"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.words.append((self.open[-1], data))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, tag):
        return [words for name, words in self.words if name == tag]


def drawn(label: str = "error, mm") -> Figure:
    figure = Figure(figsize=(3, 2))
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [1, 3])
    left.set(xlabel=label, ylabel="share", title="cumulative")
    right.plot([1, 0])
    return figure


@pytest.fixture
def page(tmp_path):
    table = pd.DataFrame(
        {
            "landmark": [NASTY, "base"],
            "mre_mm": [1.234, np.nan],
            "n": [7, 12],
            "trust": [True, False],
        }
    )
    by_run = pd.DataFrame({("sdr", "2 mm"): [0.9]}, index=pd.Index(["before"], name="run"))
    sections = [
        Section(NASTY, "First\nparagraph.\n\nSecond <b>one</b>.", [drawn(), table]),
        Section("Empty"),
        Section("Empty", items=[by_run, "line 1\n  line 2", drawn(r"cost, \$"), "closing words"]),
    ]
    settings = {"lr": 0.00035, "run": "", "max_minutes": None, "input_hw": (32, 64)}
    path = write_report(tmp_path / "new" / "r.html", NASTY, sections, settings, note="phantom & co")
    return Page(path.read_text(encoding="utf-8"))


def test_names_cannot_bring_tags_into_the_page(page):
    assert not page.all("script")
    assert not page.all("b")
    assert page.text("h1") == page.text("title") == [NASTY]
    assert page.text("h2")[0] == NASTY
    assert page.text("td")[0] == NASTY
    assert page.all("div")[1]["aria-label"] == f"{NASTY}, table"
    assert not page.open, "a tag was left open"


def test_nothing_is_fetched_and_no_script_may_run(page):
    metas = {m.get("http-equiv"): m.get("content") for m in page.all("meta")}
    assert metas["Content-Security-Policy"].startswith("default-src 'none'; img-src data:;")
    assert not [name for name, _ in page.tags if name in ("link", "iframe", "object", "base")]
    for _, attributes in page.tags:
        assert not [key for key in attributes if key.startswith("on")]
        for key in ("src", "href", "srcset", "action", "style"):
            assert (attributes.get(key) or "#").startswith(("#", "data:image/png;base64,")), key
    assert not re.search(r"url\(|@import|https?:", "".join(page.text("style")))


def test_every_figure_is_in_the_page_and_says_what_it_shows(page):
    pictures = page.all("img")
    assert len(pictures) == 2
    for picture in pictures:
        data = base64.b64decode(picture["src"].split(",")[1], validate=True)
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            assert image.format == "PNG"
            assert abs(image.width / 1.5 - int(picture["width"])) <= 1
            assert abs(image.height / 1.5 - int(picture["height"])) <= 1
    assert pictures[0]["alt"] == f"{NASTY}: cumulative, share over error, mm"
    assert pictures[1]["alt"] == "Empty: cumulative, share over cost, $"


def test_the_table_of_contents_leads_to_each_section_even_if_names_repeat(page):
    anchors = [a["href"] for a in page.all("a")]
    assert anchors == ["#s1", "#s2", "#s3"]
    assert [s["id"] for s in page.all("section")] == ["s1", "s2", "s3"]
    assert page.text("a") == [NASTY, "Empty", "Empty"]


def test_blank_lines_part_paragraphs_and_a_text_item_keeps_its_lines(page):
    assert page.text("p")[:3] == ["phantom & co", "First\nparagraph.", "Second <b>one</b>."]
    assert page.text("pre") == ["line 1\n  line 2"]
    assert "closing words" in page.text("p")


def test_tables_have_heads_numbers_to_the_right_and_a_dash_for_nothing(page):
    assert page.text("th")[:4] == ["landmark", "mre_mm", "n", "trust"]
    assert page.text("td")[:8] == [NASTY, "1.23", "7", "yes", "base", "–", "12", "no"]
    assert [cell.get("class") for cell in page.all("td")[:4]] == [None, "n", "n", None]
    assert page.text("th")[4:7] == ["run", "sdr, 2 mm", "before"]
    assert [cell["scope"] for cell in page.all("th")[4:7]] == ["col", "col", "row"]


def test_settings_are_told_exactly_and_the_footer_says_when_and_by_what(page):
    cells = page.text("td")
    assert cells[cells.index("lr") + 1] == "0.00035"
    assert cells[cells.index("max_minutes") + 1] == "–"
    assert cells[cells.index("input_hw") + 1] == "(32, 64)"
    assert page.text("summary") == ["Settings"]
    assert page.open == []
    assert any(f"by lmkit {__version__}" in words for words in page.text("p"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", page.text("time")[0])


@pytest.mark.parametrize(
    "values, read",
    [
        ([0.5, 0.123456, 0.00001], ["0.500", "0.123", "1e-05"]),
        ([150.25, 2.0, np.inf], ["150.2", "2.0", "inf"]),
        ([85.0, np.nan, 12.0], ["85", "–", "12"]),
        ([(0.72, 1.684), None, [3, 4]], ["0.72, 1.68", "–", "3, 4"]),
        ([np.float32(1.5), np.int64(3), np.True_], ["1.50", "3", "yes"]),
        (["92.9 (87.6–96.2)", pd.NA, "<0.001"], ["92.9 (87.6–96.2)", "–", "<0.001"]),
    ],
)
def test_a_column_of_numbers_reads_well(tmp_path, values, read):
    table = pd.DataFrame({"x": pd.Series(values, dtype=object)})
    path = write_report(tmp_path / "r.html", "r", [Section("s", items=[table])])
    page = Page(path.read_text(encoding="utf-8"))
    assert page.text("td") == read
    assert page.all("td")[0].get("class") == (None if read[-1] == "yes" else "n")


def test_signs_that_no_page_may_hold_do_not_spoil_it(tmp_path):
    path = write_report(tmp_path / "r.html", "a\x00b\udcffc", [])
    assert Page(path.read_text(encoding="utf-8")).text("h1") == ["a\ufffdb?c"]


def test_an_item_of_another_kind_is_refused_and_no_file_is_left(tmp_path):
    with pytest.raises(InputError, match=r"section 'odd', item 2: expected a figure.*got int"):
        write_report(tmp_path / "r.html", "r", [Section("odd", items=["fine", 3])])
    assert list(tmp_path.iterdir()) == []


def test_a_table_as_csv_is_unrounded_under_a_safe_name(tmp_path):
    table = pd.DataFrame({"mre_mm": [1 / 3]}, index=pd.Index(["tip"], name="landmark"))
    paths = tables_to_csv(tmp_path, {"per/landmark": table, "plain": pd.DataFrame({"n": [7]})})
    assert [path.name for path in paths] == ["per_landmark.csv", "plain.csv"]
    assert paths[0].read_text() == f"landmark,mre_mm\ntip,{1 / 3!r}\n"
    assert paths[1].read_text() == "n\n7\n"
    with pytest.raises(InputError, match="of different names, got 'a b'"):
        tables_to_csv(tmp_path, {"a/b": table, "a b": table})


def test_times_and_intervals_stay_on_a_line_and_long_texts_have_room(tmp_path):
    table = pd.DataFrame(
        {
            "time": ["0.73 ×", "–"],
            "effect": ["+3.9 (+1.3 to +6.6)", "–"],
            "verdict": ["not enough runs; 2.7 points would have been seen", "helps"],
            "side": ["left", "right"],
        }
    )
    path = write_report(tmp_path / "r.html", "t", [Section("s", "", [table])])
    page = path.read_text(encoding="utf-8")
    assert '<td class="n">0.73 ×</td>' in page
    assert '<td class="n">+3.9 (+1.3 to +6.6)</td>' in page
    assert '<td class="t">helps</td>' in page
    assert "<td>left</td>" in page
