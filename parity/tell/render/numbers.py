"""How a page writes numbers: short to read, whole for whoever looks closer."""

from __future__ import annotations

import math

from markupsafe import Markup

NOTHING = "\N{EN DASH}"


def short(value: float | None, digits: int = 3, *, even: bool = False) -> str:
    """A number of so many digits, ``1.2e-14``; a dash for none.

    ``even`` keeps the zeros at its end, so that numbers below each other line up.
    """
    if value is None:
        return NOTHING
    if not math.isfinite(value):
        return {math.inf: "inf", -math.inf: "-inf"}.get(value, "nan")
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    mantissa, mark, exponent = f"{value:{'#' if even else ''}.{digits}g}".partition("e")
    mantissa = mantissa.removesuffix(".")
    return f"{mantissa}e{int(exponent)}" if mark else mantissa


def cell(value: float | None, digits: int = 3) -> Markup:
    """The short form, holding the whole number for programs, and for whoever rests on it."""
    shown = short(value, digits, even=True)
    if value is None or not math.isfinite(value) or float(shown) == value:
        return Markup("{}").format(shown)
    return Markup('<data value="{0}" title="{0}">{1}</data>').format(repr(value), shown)
