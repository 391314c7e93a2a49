"""Spacings that a decimal comma has made absurd: 0,17 read as 0 and 17, 1,25 as 1 and 25."""

from __future__ import annotations

import re

MOST_OBLONG = 3.0  # times that a pixel is longer one way; 1,25 for 1.25 would be 25 times
TWO_WHOLE = re.compile(r"\[?\s*(\d+)\s*,\s*(\d+)\s*\]?")


def point_for_comma(text: str) -> str:
    """'; write 0.17 ...' for text such as '0,17' or '[0, 17]', perhaps meaning that, or nothing."""
    whole = TWO_WHOLE.fullmatch(text.strip())
    return f"; write {whole[1]}.{whole[2]} with a decimal point" if whole else ""


def is_oblong(x: float, y: float) -> bool:
    """Whether two spacings > 0 differ more than MOST_OBLONG times."""
    return max(x, y) > (1 + 1e-9) * MOST_OBLONG * min(x, y)
