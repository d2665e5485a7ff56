"""Comparing one array of the port's with the reference's: pure functions, frozen results.

No hand-picked tolerance decides anything here. The float64 bound is 64 noise floors, measured on
the reference for this very case (``parity.verdict.floor``); in float32 the port's error against the
float64 truth is put in relation to the reference's own. 64, 4 and 16 are the only constants; the
distributions they stand against are in docs/calibration.md.

Units in the last place alone would mislead near zero: exact GELU differs by 9e8 ULP where it is
1e-6 off. So residuals are absolute, and reported relative to the largest reference element.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Iterable

import numpy as np

FLOAT64_FLOORS = 64.0
POOLED_RATIO = 4.0
SINGLE_RATIO = 16.0

POWER = 1e-6
"""Of an array's own size: where its float64 floor lies above, agreement within it shows nothing."""


class Verdict(enum.StrEnum):
    """What a comparison came to, from best to worst."""

    IDENTICAL = "identical"
    ROUNDING = "rounding"
    UNCHECKED = "unchecked"
    IMPRECISE = "imprecise"
    DIVERGENT = "divergent"
    INVALID = "invalid"

    @property
    def green(self) -> bool:
        return self in (Verdict.IDENTICAL, Verdict.ROUNDING)

    @classmethod
    def worst(cls, verdicts: Iterable[Verdict]) -> Verdict:
        """The worst of them; ``unchecked`` if there are none, for nothing was compared."""
        order = list(cls)
        return max(verdicts, key=order.index, default=cls.UNCHECKED)


@dataclasses.dataclass(frozen=True)
class Element:
    """One element of an array, as both sides computed it."""

    index: tuple[int, ...]
    reference: float
    port: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One array (or one step of a trajectory) of one case, port against reference.

    Attributes:
        array: the array's name, such as "energies" or "samples[3]".
        verdict: of this array alone; ``imprecise`` judged by the bound for a single case.
        residual: max|port - reference| in float64, absolute.
        floor: the float64 noise floor, absolute.
        scale: max|reference|, to make the two relative.
        error32: max|port in float32 - float64 truth|, absolute; None if it was not compared.
        floor32: the larger of the reference's own float32 error and its float32 floor.
        mismatched: how many elements lie beyond the bound, of ``size``.
        worst: the element with the greatest difference.
        problem: why the array is ``invalid`` or ``unchecked``, in words.
        bitwise: whether both precisions agree to the last bit.
        blind32: float32 was asked for and could not be judged, for the reference's own error there
            is no number, or no smaller than the array itself.
    """

    array: str
    verdict: Verdict
    residual: float = 0.0
    floor: float = 0.0
    scale: float = 0.0
    error32: float | None = None
    floor32: float | None = None
    mismatched: int = 0
    size: int = 0
    worst: Element | None = None
    problem: str | None = None
    bitwise: bool = False
    blind32: bool = False

    @property
    def observable(self) -> str:
        """The array's name without step, subset or whose answer it is: what must be judged once."""
        return re.sub(r"(\[\d+\]| \(.*)$", "", self.array)

    @property
    def bound(self) -> float:
        """What the residual may be, absolute."""
        return FLOAT64_FLOORS * self.floor

    @property
    def floors(self) -> float:
        """The residual in units of the floor."""
        return ratio(self.residual, self.floor)

    @property
    def error_ratio(self) -> float | None:
        """The port's float32 error in units of the reference's."""
        if self.error32 is None or self.floor32 is None:
            return None
        return ratio(self.error32, self.floor32)


def ratio(value: float, unit: float) -> float:
    """value / unit, with 0 / 0 = 0."""
    if unit == 0:
        return 0.0 if value == 0 else float("inf")
    return value / unit


def pooled_ratio(errors: Iterable[tuple[float, float]]) -> float | None:
    """Largest float32 error over largest float32 floor.

    Args:
        errors: (error, floor) of each array, both relative to its size.

    Returns:
        None if there are no arrays.
    """
    found = list(errors)
    if not found:
        return None
    return ratio(max(error for error, _ in found), max(floor for _, floor in found))


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the reference answered for one array, with its floors.

    Attributes:
        float64: the truth.
        floor64: float64 noise floor, absolute.
        error32: max|reference in float32 - truth|; None where float32 is not compared.
        floor32: float32 noise floor, absolute.
    """

    float64: np.ndarray
    floor64: float
    error32: float | None = None
    floor32: float | None = None

    @property
    def allowed32(self) -> float | None:
        """What the port's float32 error is measured in; NaN if either part of it is."""
        if self.error32 is None:
            return None
        return float(np.maximum(self.error32, 0.0 if self.floor32 is None else self.floor32))


def compare(
    array: str,
    reference: Answer,
    port64: np.ndarray | None,
    port32: np.ndarray | None,
    *,
    constant_is_unchecked: bool = True,
    no_oracle: str | None = None,
    same_bits: bool = False,
    beside: float = 0.0,
    beside32: float = 0.0,
) -> Comparison:
    """Hold the port's answer in both precisions against the reference's.

    A difference beyond the bound is one however large the floor. Agreement within it shows nothing
    where the floor is no number, or not far below what is compared: that is ``unchecked``.

    Args:
        array: what reports call it.
        reference: truth and floors.
        port64: the port's float64 answer; None if it has none.
        port32: the port's float32 answer; None if float32 is not compared.
        constant_is_unchecked: an array of zeros that both sides agree on proves nothing.
        no_oracle: why the port's float64 run is not one. Then only float32 is compared, against
            its floor, and the verdict is at best ``unchecked``.
        same_bits: whether the float32 answers of both are the same to the last bit.
        beside: the greatest element of all arrays that are judged together with this one. Its
            rounding unit is a floor to each of them: one that is zero by construction, and by
            cancellation only up to it, is then judged to be zero on both sides.
        beside32: the same for float32 alone, where an array of one element that cancels may by
            chance cancel better in the reference than it does in four copies, or in the port.
    """
    truth = reference.float64
    if no_oracle is not None:
        return _compare_float32_only(array, reference, port32, no_oracle)
    if problem := _unfit(array, truth, port64, np.float64):
        return Comparison(array, Verdict.INVALID, problem=problem)
    assert port64 is not None
    allowed32 = reference.allowed32
    blind32 = port32 is not None and allowed32 is not None and not np.isfinite(allowed32)
    compares_float32 = port32 is not None and allowed32 is not None and not blind32
    if compares_float32 and (problem := _unfit(array, truth, port32, np.float32)):
        return Comparison(array, Verdict.INVALID, problem=problem)
    if truth.size == 0:
        return Comparison(array, Verdict.UNCHECKED, problem="no elements to compare")
    difference = np.abs(port64 - truth)
    residual, scale = float(difference.max()), float(np.abs(truth).max())
    floor = float(np.maximum(reference.floor64, beside * np.finfo(np.float64).eps))
    if residual <= FLOAT64_FLOORS * reference.floor64:
        floor = reference.floor64
    bound = FLOAT64_FLOORS * floor
    zero = (
        max(scale, float(np.abs(port64).max()))
        <= FLOAT64_FLOORS * max(reference.floor64, beside * np.finfo(np.float64).eps)
        <= FLOAT64_FLOORS * POWER * beside
    )
    place = tuple(int(i) for i in np.unravel_index(int(difference.argmax()), truth.shape))
    error32 = floor32 = None
    bitwise = bool(np.array_equal(port64, truth))
    if compares_float32:
        assert port32 is not None
        assert allowed32 is not None
        error32 = float(np.abs(port32.astype(np.float64) - truth).max())
        floor32 = allowed32
        if ratio(error32, floor32) > SINGLE_RATIO:
            unit32 = max(beside, beside32) * np.finfo(np.float32).eps
            floor32 = float(np.maximum(floor32, unit32))
        bitwise = bitwise and same_bits
    verdict, problem, weak = Verdict.ROUNDING, None, None
    if residual > bound:
        verdict = Verdict.DIVERGENT
    elif error32 is not None and floor32 is not None and ratio(error32, floor32) > SINGLE_RATIO:
        verdict = Verdict.IMPRECISE
    elif zero and beside > 0:
        verdict = Verdict.IDENTICAL if bitwise else Verdict.ROUNDING
        error32, floor32, blind32, weak = None, None, False, "zero on both sides"
    elif weak := powerless(floor, scale):
        verdict, problem = Verdict.UNCHECKED, weak
    elif constant_is_unchecked and not truth.any():
        verdict, problem = Verdict.UNCHECKED, "the reference is zero everywhere"
    elif bitwise:
        verdict = Verdict.IDENTICAL
    if verdict is not Verdict.IMPRECISE and floor32 is not None and floor32 >= scale > 0:
        error32, floor32, blind32 = None, None, True
    worst = Element(place, float(truth[place]), float(port64[place]))
    return Comparison(
        array=array,
        verdict=verdict,
        residual=residual,
        floor=floor,
        scale=scale,
        error32=error32,
        floor32=floor32,
        mismatched=int((difference > bound).sum()),
        size=truth.size,
        worst=None if weak else worst,  # what shows nothing is no number to sum a check up by
        problem=problem,
        bitwise=bitwise,
        blind32=blind32,
    )


def powerless(floor: float, scale: float) -> str | None:
    """Why agreement to within a float64 floor shows nothing of an array of that size, or None."""
    if not np.isfinite(floor):
        return (
            f"its float64 floor is {floor}: the reference's copies, moved by one unit in the last "
            "place, are not finite"
        )
    if floor > POWER * scale > 0:
        return (
            f"ill-conditioned: moved by one unit in the last place the reference changes by "
            f"{floor:.2g}, and is {scale:.2g} at most (up to {POWER:g} of that is allowed); the "
            "check needs another case"
        )
    return None


def _compare_float32_only(
    array: str, reference: Answer, port32: np.ndarray | None, why: str
) -> Comparison:
    truth = reference.float64
    if problem := _unfit(array, truth, port32, np.float32):
        return Comparison(array, Verdict.INVALID, problem=problem)
    floor32 = reference.allowed32
    if floor32 is None or port32 is None or truth.size == 0:
        return Comparison(array, Verdict.UNCHECKED, problem=f"no oracle: {why}")
    difference = np.abs(port32.astype(np.float64) - truth)
    error32 = float(difference.max())
    place = tuple(int(i) for i in np.unravel_index(int(difference.argmax()), truth.shape))
    wrong = ratio(error32, floor32) > SINGLE_RATIO
    return Comparison(
        array=array,
        verdict=Verdict.DIVERGENT if wrong else Verdict.UNCHECKED,
        residual=error32,
        floor=floor32,
        scale=float(np.abs(truth).max()),
        error32=error32,
        floor32=floor32,
        mismatched=int((difference > SINGLE_RATIO * floor32).sum()),
        size=truth.size,
        worst=Element(place, float(truth[place]), float(port32[place])),
        problem=f"no oracle: {why}",
    )


def _unfit(array: str, truth: np.ndarray, port: np.ndarray | None, dtype: type) -> str | None:
    """Why the port's array cannot be compared at all, or None."""
    name = np.dtype(dtype).name
    if port is None:
        return f"the port gave no {array}"
    if port.shape != truth.shape:
        return f"{array} has shape {port.shape} from the port, {truth.shape} from the reference"
    if port.dtype != dtype:
        return f"{array} has dtype {port.dtype} from the port in a {name} run"
    strange = np.isfinite(truth) & ~np.isfinite(port)
    if strange.any():
        index = tuple(int(i) for i in np.argwhere(strange)[0])
        return (
            f"{array} is {float(port[index])} at index {index} from the port ({name}) where the "
            f"reference is {float(truth[index])} ({int(strange.sum())} of {truth.size} elements)"
        )
    if not np.isfinite(truth).all():
        return f"{array} is not finite from the reference itself"
    return None
