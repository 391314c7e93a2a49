"""The mouse on a picture widget: where it goes down, is drawn to, and is let go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as w

try:
    from ipyevents import Event
except ImportError:  # the clicks extra is not installed
    Event = None

DRAWN_EVERY_MS = 60  # a picture of a dragged point is drawn at most so often

Place = Callable[[float, float], object]


class Pointer:
    """Tells of a mouse on a picture, each time by shares of its width and height from the top left.

    Args:
        picture: the widget.
        down, drag, up: called with (right, down), in [0, 1] while the mouse is on the picture; drag
            only while the button is held.
    Raises: RuntimeError without ipyevents; ask `Pointer.possible` before.
    """

    possible = Event is not None

    def __init__(self, picture: w.Image, *, down: Place, drag: Place, up: Place) -> None:
        if not self.possible:
            raise RuntimeError("ipyevents: expected to be installed, got none; see [clicks]")
        self.told = {"mousedown": down, "mousemove": drag, "mouseup": up}
        # without this the browser drags the picture itself about, and tells no more
        own = {"source": picture, "prevent_default_action": True}
        self.ends = Event(watched_events=["mousedown", "mouseup"], **own)
        self.ends.on_dom_event(self.hear)
        self.moves = Event(
            watched_events=["mousemove"],
            wait=DRAWN_EVERY_MS,
            throttle_or_debounce="throttle",
            **own,
        )
        self.moves.on_dom_event(self.hear)

    def hear(self, event: dict[str, Any]) -> None:
        """One event, as ipyevents tells it."""
        if event["type"] == "mousemove" and not event.get("buttons"):
            return
        right = event["relativeX"] / max(event["boundingRectWidth"], 1)
        down = event["relativeY"] / max(event["boundingRectHeight"], 1)
        self.told[event["type"]](right, down)
