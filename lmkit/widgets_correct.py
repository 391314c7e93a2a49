"""Mending labels and reading them again, with the mouse on a picture; each has a static figure.

The mouse needs the small package ipyevents (`pip install -e '.[clicks]'`); without it there are
number fields and arrows, which do the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape

import ipywidgets as w
import numpy as np
from matplotlib.figure import Figure

from lmkit import desk_pictures
from lmkit.correct_desk import CorrectionDesk
from lmkit.desk_pictures import OVERVIEW_PX, WIDTH_PX, Held
from lmkit.fields import InputError
from lmkit.pointing import Pointer
from lmkit.reading_desk import ReadingDesk
from lmkit.widgets import WIDE, png
from lmkit.windows import VIEWS

STEPS_PX = (0.25, 1.0, 5.0)
MOUSE = "Drag a landmark to where it is, or click there to put the chosen one."
NO_MOUSE = "The mouse needs ipyevents: pip install -e '.[clicks]'. Use x and y, or the arrows."
FIELD = {"width": "185px", "flex": "0 0 auto"}
NARROW = {"description_width": "110px", "button_width": "90px"}
GRAB_PX = 14  # of the picture, within which a landmark is taken hold of
Desk = CorrectionDesk | ReadingDesk


def correction_desk(desk: CorrectionDesk) -> w.VBox:
    """Step through label sets and mend them; every decision is saved at once.

    A landmark is dragged to its place, or chosen and put there by a click. Green rings are labels,
    blue ones where they were, red crosses the model's points.
    """
    controls = _Controls(
        desk,
        lambda held: desk_pictures.correction_picture(desk, held),
        lambda: desk_pictures.overview_picture(desk),
    )
    reason = w.Text(description="reason", placeholder="why, if you like", style=WIDE)

    def keep() -> None:
        desk.keep(reason.value)
        desk.go(1)

    set_row = [
        controls.button("◀ previous", lambda: desk.go(-1)),
        controls.button("next ▶", lambda: desk.go(1)),
        controls.button("keep: all right", keep),
        controls.button("accept the repair", desk.accept),
        controls.button("undo", desk.undo),
    ]
    point_row = [
        controls.button("unclear", lambda: desk.unclear(reason.value)),
        controls.button("take the model's point", desk.take_model),
    ]
    controls.on_place = desk.move
    return controls.box([row(set_row)], point_row, [reason])


def reading_desk(desk: ReadingDesk) -> w.VBox:
    """Read label sets again without seeing the label; each is saved when all is placed."""

    def hide() -> None:
        desk.hide()
        desk.choose_next()

    def place(x: float, y: float) -> None:
        desk.mark(x, y)
        desk.choose_next()

    controls = _Controls(desk, lambda held: desk_pictures.reading_picture(desk, held), None)
    set_row = [
        controls.button("start again", desk.clear),
        controls.button("save, next ▶", desk.save),
    ]
    point_row = [controls.button("cannot be seen", hide)]
    controls.on_place = place
    controls.on_drag = desk.mark  # a mark that was there already: the next one is chosen as it was
    return controls.box([row(set_row)], point_row, [])


def row(widgets: list[w.Widget]) -> w.HBox:
    """Widgets beside each other, the last ones below where the page is too narrow."""
    return w.HBox(widgets, layout=w.Layout(flex_flow="row wrap"))


class _Controls:
    """What both desks have: reader, landmark, view, x and y, arrows, picture, and a line below.

    Args:
        picture, beside: draw what the mouse is on, and what stands beside it.
    """

    def __init__(
        self,
        desk: Desk,
        picture: Callable[[Held], Figure],
        beside: Callable[[], Figure] | None,
    ) -> None:
        self.desk, self.draw, self.draw_beside = desk, picture, beside
        self.on_place: Callable[[float, float], object] = lambda x, y: None
        self.on_drag: Callable[[float, float], object] = lambda x, y: self.on_place(x, y)
        self.held = False  # whether the mouse has hold of the chosen landmark
        self.quiet = False  # while the controls follow the desk
        names = list(desk.dataset.names)
        self.reader = w.Text(desk.reader, description="reader", style=WIDE)
        self.landmark = w.Dropdown(options=names, description="landmark", style=WIDE)
        self.view = w.ToggleButtons(options=VIEWS, description="look at", style=NARROW)
        self.x = w.FloatText(step=0.5, description="x, px", style=WIDE, layout=FIELD)
        self.y = w.FloatText(step=0.5, description="y, px", style=WIDE, layout=FIELD)
        self.step = w.Dropdown(
            options=STEPS_PX, value=1.0, description="arrows, px", style=WIDE, layout=FIELD
        )
        self.picture = w.Image(format="png", layout=w.Layout(width=f"{WIDTH_PX}px"))
        self.beside = w.Image(format="png", layout=w.Layout(width=f"{OVERVIEW_PX}px"))
        self.said = w.HTML()
        for control in (self.reader, self.landmark, self.view):
            control.observe(self._looked, names="value")
        if Pointer.possible:
            self.pointer = Pointer(self.picture, down=self.grab, drag=self.drag, up=self.drop)

    def button(self, text: str, act: Callable[[], object]) -> w.Button:
        """A button that does something at the desk and then shows the desk again."""
        made = w.Button(description=text, layout=w.Layout(width="auto", flex="0 0 auto"))
        made.on_click(lambda _button: self.do(act))
        return made

    def do(self, act: Callable[[], object]) -> None:
        """Do something; what cannot be done is said in the line below the picture."""
        trouble = ""
        try:
            act()
        except InputError as error:
            trouble = f"<br><b>{escape(str(error))}</b>"
        self.show()
        self.said.value += trouble

    def grab(self, right: float, down: float) -> None:
        """Take hold of the landmark under the mouse, if there is one; it becomes the chosen one."""
        window = self.desk.window
        away = np.linalg.norm(self.points - np.array(window.at(right, down)), axis=1)
        near = away < GRAB_PX / WIDTH_PX * window.width
        self.held = bool(near.any())
        if self.held:
            self.desk.landmark = self.desk.dataset.names[int(np.nanargmin(away))]

    def drag(self, right: float, down: float) -> None:
        """Show the landmark that is held where the mouse is; nothing is decided yet."""
        if self.held:
            self.picture.value = png(self.draw(self.desk.window.at(right, down)))

    def drop(self, right: float, down: float) -> None:
        """Put the landmark that is held, or else the chosen one, where the mouse is."""
        put, self.held = self.on_drag if self.held else self.on_place, False
        self.do(lambda: put(*self.desk.window.at(right, down)))

    @property
    def points(self) -> np.ndarray:
        """(L, 2) px, where the landmarks are as decided so far."""
        return self.desk.points() if isinstance(self.desk, CorrectionDesk) else self.desk.marks

    def _looked(self, _change: object) -> None:
        if self.quiet:
            return
        desk = self.desk
        desk.reader = self.reader.value
        if isinstance(desk, CorrectionDesk):
            self.do(partial(desk.look, self.landmark.value, self.view.value))
        else:
            desk.landmark, desk.view = self.landmark.value, self.view.value
            self.show()

    def show(self) -> None:
        """Draw the desk as it is."""
        self.quiet = True
        self.landmark.value, self.view.value = self.desk.landmark, self.desk.view
        x, y = self.points[self.desk.dataset.names.index(self.desk.landmark)]
        self.x.value, self.y.value = (0.0 if np.isnan(v) else round(float(v), 2) for v in (x, y))
        self.quiet = False
        self.picture.value = png(self.draw(None))
        if self.draw_beside is not None:
            self.beside.value = png(self.draw_beside())
        self.said.value = escape(self.desk.state())

    def box(self, rows: list[w.Widget], point_row: list[w.Widget], more: list[w.Widget]) -> w.VBox:
        """All of it, drawn once."""
        arrows = [
            self.button(sign, partial(self._nudge, dx, dy))
            for sign, dx, dy in (("←", -1, 0), ("→", 1, 0), ("↑", 0, -1), ("↓", 0, 1))
        ]
        put = self.button("put it there", lambda: self.on_place(self.x.value, self.y.value))
        self.show()
        pictures = [self.picture, *([self.beside] if self.draw_beside else [])]
        note = w.HTML(escape(MOUSE if Pointer.possible else NO_MOUSE))
        return w.VBox(
            [
                row([self.reader, *more]),
                *rows,
                row([self.landmark, self.view]),
                row([self.x, self.y, put, self.step, *arrows]),
                row(point_row),
                note,
                row(pictures),
                self.said,
            ]
        )

    def _nudge(self, dx: int, dy: int) -> None:
        self.desk.nudge(dx * self.step.value, dy * self.step.value)
