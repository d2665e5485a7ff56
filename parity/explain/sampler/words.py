"""What a departure from the reference's step is called: the fault's id, its place, its words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from parity.explain.sampler.draws import FAMILIES
from parity.explain.sampler.rules import RANGES, Fitted, Rule, Uniform, departures
from parity.values.traces import Trace


@dataclasses.dataclass(frozen=True)
class Field:
    """How a field of a rule is told.

    Attributes:
        id: of the fault, unless ``FAULTS`` has one for the value.
        place: where in ``generate_samples``.
        part: of its source lines (``frameworks.torch.places``).
        words: what goes before the value.
    """

    id: str
    place: str
    part: str
    words: str


NOISE, CLIP_AFTER = "the noise", "the clip after the update"
FIELDS: Mapping[str, Field] = {
    "start": Field(
        "clip-range",
        "before the loop",
        "noise clip",
        "before the first step images are clipped to",
    ),
    "noise": Field("noise-after-update", NOISE, "noise", "the noise is added"),
    "distribution": Field("noise-distribution", NOISE, "noise", "the noise is"),
    "shape": Field("noise-distribution", NOISE, "noise", "a number of its own is drawn for"),
    "draws": Field("noise-missing", NOISE, "noise", "the noise is drawn"),
    "noise_scale": Field("noise-scale", NOISE, "noise/scale", "the noise's scale is"),
    "first_clip": Field(
        "clip-range", "the clip after the noise", "noise clip", "the clip after the noise is"
    ),
    "point": Field(
        "gradient-point",
        "the gradient",
        "gradient/point",
        "the gradient is taken at the images that are",
    ),
    "reduction": Field(
        "gradient-mean", "the gradient", "gradient/reduction", "scores are reduced by"
    ),
    "sign": Field("update-sign", "the update", "update/sign", "the update has the sign"),
    "accumulate": Field(
        "gradient-accumulated", "the gradient", "gradient/accumulated", "gradients are added up"
    ),
    "gradient_clip": Field(
        "gradient-clip-norm", "the gradient clip", "gradient clip", "the gradient clip is"
    ),
    "step": Field("step-size", "the update", "update/step", "the step's size is"),
    "last_clip": Field("clip-range", CLIP_AFTER, "update clip", "the clip after the update is"),
    "ending": Field("clip-missing", CLIP_AFTER, "update clip", "the last clip comes"),
}

FAULTS: Mapping[tuple[str, Any], str] = {
    ("draws", "never"): "noise-missing",
    ("first_clip", None): "clip-missing",
    ("last_clip", None): "clip-missing",
    ("draws", "same"): "noise-reused",
    ("gradient_clip", "none"): "gradient-clip-missing",
    **{("gradient_clip", how): "gradient-clip-range" for how in RANGES},
}
"""Where the value of a field tells more than the field."""

ARGUMENTS = {"noise_scale": "noise", "step": "step_size", "gradient_clip": "gradient_clip"}
"""The argument that a field follows."""


@dataclasses.dataclass(frozen=True)
class Drawing:
    """What a port draws whose samples have no noise.

    Attributes:
        any: it draws.
        less: less often than the reference.
        later: after the network was evaluated, where the reference draws before.
        others: of another family than the reference.
    """

    any: bool
    less: bool
    later: bool
    others: bool

    @classmethod
    def of(cls, reference: Trace, port: Trace) -> Drawing:
        expected, ours = (
            [draw.position for draw in trace.draws if draw.family in FAMILIES]
            for trace in (reference, port)
        )
        families = [{d.family for d in t.draws if d.family in FAMILIES} for t in (reference, port)]
        less, later = len(ours) < len(expected), ours[:1] > expected[:1]
        return cls(bool(ours), less, later, families[0] != families[1])


def ids(name: str, value: Any, drawing: Drawing) -> tuple[str, ...]:
    """The faults that make the field have this value."""
    if (name, value) == ("draws", "never") and drawing.any:
        also = ("noise-missing",) * drawing.less + ("noise-after-update",) * drawing.later
        also += ("noise-distribution",) * drawing.others
        return ("noise-discarded", *also)
    if isinstance(value, Fitted) and name == "gradient_clip" and value.kind == "value":
        return ("gradient-clip-range",)
    return (FAULTS.get((name, value)) or FIELDS[name].id,)


def all_ids(rule: Rule, base: Rule, drawing: Drawing) -> tuple[str, ...]:
    """The faults that make the one rule of the other."""
    return tuple(
        id_ for name in departures(rule, base) for id_ in ids(name, getattr(rule, name), drawing)
    )


def reading(rule: Rule, others: Sequence[Rule], base: Rule) -> str:
    """Which other departures behave just so; empty if there are none."""
    if not others:
        return ""
    words = [
        " and ".join(f"{FIELDS[n].words} {shown(getattr(r, n), n)}" for n in departures(r, base))
        for r in others
    ]
    number = len(departures(rule, base))
    what = "mend either" if number == 1 else f"in place of all {number} causes here; mend either"
    return f"{'; or '.join(words)} ({what})"


def shown(value: Any, name: str = "", given: bool = True) -> str:
    """The value of a field.

    Args:
        name: of the field, if the argument that it follows is to be told.
        given: whether the gradient clip is an argument.
    """
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return f"[{value[0]:g}, {value[1]:g}]"
    if isinstance(value, Fitted) and name == "gradient_clip" and not given:
        return f"{value.values[0]:g}"
    if isinstance(value, Fitted) and name in ARGUMENTS and value.words.startswith("always"):
        return f"{value}, whatever {ARGUMENTS[name]} is given"
    if isinstance(value, Uniform):
        return f"{value}"
    return str(value)


def fix(name: str, theirs: Any, base: Rule) -> str:
    """The line to write where the catalogue's has numbers of its own; else none."""
    if name == "start":
        return "leave the images as they are until the first noise is added"
    if name in ("first_clip", "last_clip", "ending"):
        limits = base.last_clip if name == "ending" else theirs
        if limits not in (None, (-1.0, 1.0)):
            return f"images = images.clamp({limits[0]:g}, {limits[1]:g})"
    return ""


def where(name: str) -> str:
    """The place of a field, as causes have it."""
    return f"generate_samples, {FIELDS[name].place}"


def part(name: str) -> str:
    """The part of a field, as source lines are found by it."""
    return f"generate_samples/{FIELDS[name].part}"
