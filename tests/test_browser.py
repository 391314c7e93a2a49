"""The notebooks in a person's hands: JupyterLab in Chromium, run from the top, with the mouse.

What is seen is kept as pictures in outputs/browser, to be looked at.
"""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import browser
import nbformat
import pandas as pd
import pytest
from conftest import write_native
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from lmkit.notebooks import notebook_names

LACKING = browser.lacking()
pytestmark = pytest.mark.skipif(bool(LACKING) and not browser.required(), reason=LACKING)

ROOT = Path(__file__).resolve().parent.parent
SHOTS = ROOT / "outputs" / "browser"
LIMIT_MS = 1500  # 150 where nothing else runs; a machine that tests run on is not such a one
SLIDERS = ".widget-slider, .jupyter-widget-slider"
WIDTH, HEIGHT = 110, 60  # of the small images, px
PATIENCE_MS = 600_000  # for a notebook to run, on a busy machine
# The phantom of a few patients and a network of seconds: what is tested is the page, not the model.
SMALL = {
    **{"dataset": "phantom", "phantom_patients": [32, 6, 6], "preset": "quick"},
    **{"epochs": 2, "widths": [16, 24, 32], "run": "browser"},
}
OWN = {"05_ablation": {}, "06_benchmark": {"minutes": 0.1}}
BUSY = """() => {
    const panel = jupyterapp.shell.currentWidget;
    const cells = panel.content.model.cells;
    let waiting = 0;
    for (let i = 0; i < cells.length; i++) {
        const cell = cells.get(i);
        if (cell.type !== 'code' || !cell.sharedModel.getSource().trim()) continue;
        if (cell.executionCount === null) waiting++;
        const failed = cell.outputs.toJSON().find(o => o.output_type === 'error');
        if (failed) return 'error: ' + failed.evalue;
    }
    const status = panel.sessionContext.session?.kernel?.status;
    return waiting === 0 && status === 'idle' ? 'done' : '';
}"""


def write_notebooks(folder: Path) -> None:
    """The notebooks as they are, with the settings of a small run after their own."""
    for name in notebook_names():
        notebook = load_notebook_node(str(ROOT / "notebooks" / f"{name}.ipynb"))
        given = OWN.get(name, SMALL) | {"outputs": str(folder / "outputs")}
        notebook = parameterize_notebook(notebook, given)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, folder / f"{name}.ipynb")


OWN_DATA = "01_own_data"
PLANTED = ("p07.png", "right")  # whose landmarks have each other's name


def write_own_data(folder: Path) -> None:
    """01 on a folder of 48 images, as many as the label audit needs, with a wrong label in it."""
    path = write_native(folder / "own", n=48) / "landmarks.csv"
    table = pd.read_csv(path)
    planted = (table["image"] == PLANTED[0]) & (table["side"] == PLANTED[1])
    table.loc[planted, ["x", "y"]] = table.loc[planted, ["x", "y"]].to_numpy()[::-1]
    table.to_csv(path, index=False)
    notebook = load_notebook_node(str(ROOT / "notebooks" / "01_data_augmentation.ipynb"))
    given = {"dataset": str(folder / "own"), "outputs": str(folder / "outputs")}
    notebook = parameterize_notebook(notebook, given)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, folder / f"{OWN_DATA}.ipynb")


DESK = """\
from lmkit import widgets_correct
from lmkit.correct_desk import CorrectionDesk
from lmkit.data import open_dataset

desk = CorrectionDesk(open_dataset("crosses"), reader="anna")
desk.look("tip", "whole")
box = widgets_correct.correction_desk(desk)
box"""


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[browser.Lab]:
    folder = tmp_path_factory.mktemp("notebooks")
    write_notebooks(folder)
    write_native(folder / "crosses")
    write_own_data(folder)
    desk = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(DESK)])
    desk.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(desk, folder / "desk.ipynb")
    with browser.lab(folder, tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    if LACKING:
        browser.do_without(LACKING)
    from playwright.sync_api import Error, sync_playwright

    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as play:
        try:
            browser_ = play.chromium.launch(executable_path=browser.CHROMIUM, args=browser.FLAGS)
        except Error as error:
            browser.do_without(f"browser tests skipped: Chromium does not start: {error}")
        yield browser_
        browser_.close()


@pytest.fixture
def page(chromium) -> Iterator:
    opened = chromium.new_page(viewport={"width": 1280, "height": 1000})
    opened.set_default_timeout(120_000)
    yield opened
    opened.close()


def run_from_the_top(page, lab: browser.Lab, notebook: str) -> None:
    """Open a notebook, choose Run > Run All Cells, wait until all is done; nothing has failed."""
    page.goto(lab.page_of(notebook))
    page.wait_for_function(
        "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status "
        "=== 'idle'"
    )
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    said = page.wait_for_function(BUSY, timeout=PATIENCE_MS, polling=300).json_value()
    keep(page, notebook)
    assert said == "done", f"{notebook}: {said}"


def keep(page, name: str) -> None:
    """A picture of the whole notebook, cell after cell, not only of what fits the window."""
    inside = page.locator(".jp-WindowedPanel-outer").first
    height = inside.evaluate("e => e.scrollHeight")
    old = page.viewport_size
    page.set_viewport_size({"width": old["width"], "height": min(int(height) + 150, 16_000)})
    inside.evaluate("e => e.scrollTo(0, 0)")
    page.wait_for_timeout(500)
    page.screenshot(path=SHOTS / f"{name}.png")
    page.set_viewport_size(old)


# From when a key goes down until the browser has decoded the next picture, ms; -1 = it stayed.
WATCH = """([slider]) => {
    const box = slider.closest('.jp-OutputArea-output');
    const image = box.querySelector('img'), old = image.src;
    window.watched = new Promise(done => {
        setTimeout(() => done(-1), 5000);
        let began = 0;
        const start = () => { began = performance.now(); };
        document.addEventListener('keydown', start, { once: true, capture: true });
        new MutationObserver((_, observer) => {
            if (image.src === old) return;
            observer.disconnect();
            image.decode().then(() => done(performance.now() - began));
        }).observe(image, { attributes: true });
    });
}"""


def move(page, slider) -> float:
    """Move a slider by a key. Returns: what it took until the next picture, ms; -1 = none came."""
    handle = slider.locator(".noUi-handle").first
    handle.focus()
    page.evaluate(WATCH, [slider.element_handle()])
    page.keyboard.press("ArrowRight")
    return float(page.evaluate("() => window.watched"))


def sliders_change_their_pictures(page, notebook: str, least: int) -> None:
    """Sliders move their pictures; how long that takes is kept in a table."""
    sliders = page.locator(SLIDERS)
    rows = []
    for k in range(sliders.count()):
        slider = sliders.nth(k)
        slider.scroll_into_view_if_needed()
        name = slider.locator(".widget-label").first.inner_text()
        first = move(page, slider)
        took = [first] if first < 0 else [move(page, slider) for _ in range(5)]
        rows.append((notebook, name, round(statistics.median(took)), round(max(took))))
    table = pd.DataFrame(rows, columns=["notebook", "slider", "median_ms", "worst_ms"])
    table.to_csv(SHOTS / f"sliders-{notebook}.csv", index=False)
    moved = table[
        table["median_ms"] > 0
    ]  # the amplitude of a soft peak that is divided by it: none
    assert len(moved) >= least, table.to_string()
    assert (moved["median_ms"] < LIMIT_MS).all(), table.to_string()


def menus_change_their_pictures(page, least: int) -> None:
    """Another entry of each menu, one after the other, changes the picture below it."""
    menus = page.locator(".jp-OutputArea-output .widget-dropdown")
    changed = 0
    for k in range(menus.count()):
        entries = menus.nth(k).locator("select")
        count = entries.locator("option").count()
        if count < 2:
            continue
        chosen = entries.evaluate("e => e.selectedIndex")
        picture = output_of(menus.nth(k)).locator("img").first
        seen = picture.get_attribute("src")
        entries.select_option(index=count - 1 if chosen < count - 1 else 0)
        page.wait_for_function(
            "([i, old]) => i.src !== old && i.complete && i.naturalWidth > 0",
            arg=[picture.element_handle(), seen],
            timeout=30_000,
        )
        changed += 1
    assert changed >= least


def output_of(widget):
    """The output that a widget stands in, with its pictures."""
    return widget.locator("xpath=ancestor::*[contains(@class, 'jp-OutputArea-output')][1]")


def test_01_runs_from_the_top_its_sliders_draw_and_its_link_leads_on(page, served):
    run_from_the_top(page, served, "01_data_augmentation")
    all_figures_are_there(page)
    sliders_change_their_pictures(page, "01_data_augmentation", least=7)
    page.get_by_role("link", name="02 targets, losses and peaks").first.click()
    page.wait_for_function(
        "() => jupyterapp.shell.currentWidget?.context?.path === '02_loss_rationale.ipynb'"
    )


def test_02_runs_from_the_top_and_its_sliders_draw(page, served):
    run_from_the_top(page, served, "02_loss_rationale")
    all_figures_are_there(page)
    sliders_change_their_pictures(page, "02_loss_rationale", least=5)


def test_03_trains_and_04_evaluates_it_with_cases_and_a_report_without_scripts(
    page, served, chromium
):
    run_from_the_top(page, served, "03_train")
    all_figures_are_there(page)
    run_from_the_top(page, served, "04_evaluate")
    all_figures_are_there(page)
    sliders_change_their_pictures(page, "04_evaluate", least=2)
    move(page, page.locator(SLIDERS).first)  # off the first case, to which another order leads back
    menus_change_their_pictures(page, least=1)
    (report,) = (served.folder / "outputs").glob("**/browser/report.html")
    bare = chromium.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 1000})
    opened = bare.new_page()
    opened.goto(report.as_uri())
    pictures = opened.locator("img")
    assert pictures.count() >= 7, "one side: nothing to set beside the other"
    assert opened.locator("h2").count() >= 5
    for k in range(pictures.count()):
        box = pictures.nth(k).bounding_box()
        assert box, f"picture {k} of the report"
        assert box["width"] > 100, f"picture {k} of the report"
        assert box["x"] + box["width"] <= 1280, f"picture {k} of the report is cut off"
    opened.screenshot(path=SHOTS / "report.png", full_page=True)
    bare.close()


@pytest.mark.parametrize("notebook", ["05_ablation", "06_benchmark"])
def test_a_long_notebook_runs_from_the_top(page, served, notebook):
    run_from_the_top(page, served, notebook)
    all_figures_are_there(page)
    if notebook == "05_ablation":
        menus_change_their_pictures(page, least=2)


def all_figures_are_there(page) -> None:
    pictures = page.locator(".jp-OutputArea img")
    assert pictures.count() >= 3
    broken = pictures.evaluate_all("all => all.filter(i => i.complete && !i.naturalWidth).length")
    assert broken == 0
    assert page.locator(".jp-OutputArea-output[data-mime-type*='stderr']").count() == 0


def drag(page, picture, start: tuple[float, float], by: tuple[float, float]) -> None:
    """Drag what is at a place of a picture of a whole image, in pixels of that image."""
    box = picture.bounding_box()
    px = box["width"] / WIDTH, box["height"] / HEIGHT  # of the screen, to a pixel of the image
    right, down = box["x"] + (start[0] + 0.5) * px[0], box["y"] + (start[1] + 0.5) * px[1]
    page.mouse.move(right, down)
    page.mouse.down()
    for step in range(1, 6):
        page.mouse.move(right + by[0] * step / 5 * px[0], down + by[1] * step / 5 * px[1])
        page.wait_for_timeout(100)
    page.mouse.up()


def test_a_landmark_is_dragged_with_the_mouse_and_is_found_in_the_file(page, served):
    run_from_the_top(page, served, "desk")
    picture = page.locator(".jp-OutputArea img").first
    picture.scroll_into_view_if_needed()
    label = pd.read_csv(served.folder / "crosses" / "landmarks.csv").iloc[0]
    assert (label["image"], label["side"], label["landmark"]) == ("p00.png", "left", "tip")
    seen = picture.get_attribute("src")
    drag(page, picture, (label["x"], label["y"]), (-10, 5))
    table = saved(served.folder / "crosses" / "corrections.csv", 1)
    row = table.iloc[0]
    assert (row["image"], row["side"], row["landmark"], row["action"], row["reader"]) == (
        *("p00.png", "left", "tip", "move", "anna"),
    )
    # a pixel of the screen is 1/7 of one
    assert (row["x"], row["y"]) == pytest.approx((label["x"] - 10, label["y"] + 5), abs=0.6)
    page.wait_for_function("([i, old]) => i.src !== old", arg=[picture.element_handle(), seen])
    page.screenshot(path=SHOTS / "desk-dragged.png")
    box = picture.bounding_box()
    page.mouse.click(
        box["x"] + 60.5 / WIDTH * box["width"], box["y"] + 5.5 / HEIGHT * box["height"]
    )
    row = saved(served.folder / "crosses" / "corrections.csv", 2).iloc[1]
    assert (row["x"], row["y"]) == pytest.approx((60, 5), abs=0.6)
    page.get_by_role("button", name="undo").click()
    page.get_by_role("button", name="undo").click()
    assert saved(served.folder / "crosses" / "corrections.csv", 4)["action"].iloc[-1] == "undo"


def test_01_on_own_data_finds_the_planted_label_which_is_dragged_where_it_belongs(page, served):
    run_from_the_top(page, served, OWN_DATA)
    all_figures_are_there(page)
    accept = page.get_by_role("button", name="accept the repair")
    accept.scroll_into_view_if_needed()
    picture = output_of(accept).locator("img").first
    name = output_of(accept).locator(".widget-text", has_text="reader").locator("input")
    name.fill("anna")  # without one nothing is decided
    name.press("Enter")
    output_of(accept).get_by_role("button", name="whole", exact=True).click()
    page.wait_for_function(
        "([i, ratio]) => Math.abs(i.naturalWidth / i.naturalHeight - ratio) < 0.02",
        arg=[picture.element_handle(), WIDTH / HEIGHT],
    )
    picture.scroll_into_view_if_needed()
    labels = pd.read_csv(served.folder / "own" / "landmarks.csv")
    labels = labels[(labels["image"] == PLANTED[0]) & (labels["side"] == PLANTED[1])]
    tip, base = (labels[labels["landmark"] == name].iloc[0] for name in ("tip", "base"))
    by = base["x"] - tip["x"] + 6, base["y"] - tip["y"]  # beside the other one
    drag(page, picture, (tip["x"], tip["y"]), by)
    page.screenshot(path=SHOTS / "own-dragged.png")
    row = saved(served.folder / "own" / "corrections.csv", 1).iloc[0]
    said = row["image"], row["side"], row["landmark"], row["action"], row["reader"]
    assert said == (*PLANTED, "tip", "move", "anna")
    assert (row["x"], row["y"]) == pytest.approx((base["x"] + 6, base["y"]), abs=0.6)


def saved(path: Path, rows: int, patience_s: float = 30) -> pd.DataFrame:
    """The table, once it has so many rows."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        if path.exists() and len(table := pd.read_csv(path)) >= rows:
            return table
        time.sleep(0.1)
    raise AssertionError(f"{path.name}: expected {rows} rows within {patience_s} s")
