"""Which of the port's parameters is which of the reference's.

Matched by declaration, else in order when every shape fits, else where shapes leave no choice.
Nothing is ever transposed or skipped because a shape happens to fit some other way round.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from parity.errors import BadCall, PortFailed
from parity.layouts import shape_in_torch


@dataclasses.dataclass(frozen=True)
class Weight:
    """A weight of the reference: its name and canonical shape."""

    name: str
    shape: tuple[int, ...]

    @property
    def layer(self) -> str:
        """The layer it belongs to: "conv1" for "conv1/kernel"."""
        return self.name.rpartition("/")[0] or self.name


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A parameter of the port: its name, own shape, and how its owner lays it out.

    ``kind`` is one of ``parity.layouts.KINDS``, or None where the owner is no standard module; then
    any kind may fit.
    """

    name: str
    shape: tuple[int, ...]
    kind: str | None


@dataclasses.dataclass(frozen=True)
class Match:
    """One parameter and the weight that it holds."""

    parameter: str
    weight: str
    kind: str


class CannotMatch(PortFailed):
    """Weights and parameters do not correspond; the message lists them."""


def match(
    weights: Sequence[Weight],
    parameters: Sequence[Parameter],
    declared: Mapping[str, str] | None = None,
) -> list[Match]:
    """Pair every weight with one parameter.

    Raises:
        CannotMatch: with the names and shapes that are missing, extra, or of another shape.
    """
    declared = dict(declared or {})
    _check_declared(weights, parameters, declared)
    by_weight = {weight.name: weight for weight in weights}
    found = {name: by_weight[target] for name, target in declared.items()}
    taken = set(declared.values())
    open_weights = [weight for weight in weights if weight.name not in taken]
    open_parameters = [p for p in parameters if p.name not in declared]
    found |= _in_order(open_weights, open_parameters) or _by_shape(open_weights, open_parameters)
    matches = []
    for parameter in parameters:
        kind = _kind(found[parameter.name], parameter)
        if kind is None:
            weight = found[parameter.name]
            raise CannotMatch(
                f"{parameter.name} {parameter.shape} was declared to hold {weight.name} "
                f"{weight.shape}, which does not fit it"
            )
        matches.append(Match(parameter.name, found[parameter.name].name, kind))
    return matches


@dataclasses.dataclass(frozen=True)
class Partial:
    """What of a port's parameters can be told, if not all of them can.

    Attributes:
        matches: those that can be nothing else.
        missing: weights of the reference that no parameter holds.
        ambiguous: weights of which some are missing, and shapes do not say which.
        extra: parameters that hold no weight, with their shapes.
    """

    matches: list[Match]
    missing: list[str]
    ambiguous: list[str]
    extra: list[str]


def match_partly(
    weights: Sequence[Weight],
    parameters: Sequence[Parameter],
    declared: Mapping[str, str] | None = None,
) -> Partial:
    """Align weights and parameters in their order, as many as fit, for a port that lacks some.

    The alignments that match as early and as late as they can agree on what can be nothing else.
    """
    declared = dict(declared or {})
    _check_declared(weights, parameters, declared)
    by_weight = {weight.name: weight for weight in weights}
    by_name = {parameter.name: parameter for parameter in parameters}
    taken = set(declared.values())
    rest = [weight for weight in weights if weight.name not in taken]
    own = [parameter for parameter in parameters if parameter.name not in declared]
    late = _aligned(rest, own)
    size, count = len(rest) - 1, len(own) - 1
    early = {(size - i, count - j) for i, j in _aligned(rest[::-1], own[::-1])}
    sure = [(by_weight[target], by_name[name]) for name, target in declared.items()]
    sure += [(rest[i], own[j]) for i, j in sorted(early & late)]
    matches = [
        Match(parameter.name, weight.name, kind)
        for weight, parameter in sure
        if (kind := _kind(weight, parameter)) is not None
    ]
    held = {match.parameter for match in matches}
    open_, unsure = {i for i, _ in early & late}, {i for i, _ in early ^ late}
    return Partial(
        matches,
        [w.name for i, w in enumerate(rest) if i not in open_ | unsure],
        [rest[i].name for i in sorted(unsure)],
        [f"{p.name} {p.shape}" for p in parameters if p.name not in held],
    )


def _aligned(weights: Sequence[Weight], parameters: Sequence[Parameter]) -> set[tuple[int, int]]:
    """Indices of a longest alignment in order, the first that fits taken first."""
    rows, columns = len(weights), len(parameters)
    longest = [[0] * (columns + 1) for _ in range(rows + 1)]
    fits = [
        [_kind(weight, parameter) is not None for parameter in parameters] for weight in weights
    ]
    for i in range(rows - 1, -1, -1):
        for j in range(columns - 1, -1, -1):
            longest[i][j] = max(longest[i + 1][j], longest[i][j + 1])
            if fits[i][j]:
                longest[i][j] = max(longest[i][j], 1 + longest[i + 1][j + 1])
    found, i, j = set(), 0, 0
    while i < rows and j < columns and longest[i][j]:
        if fits[i][j] and longest[i][j] == 1 + longest[i + 1][j + 1]:
            found.add((i, j))
            i, j = i + 1, j + 1
        elif longest[i][j] == longest[i + 1][j]:
            i += 1
        else:
            j += 1
    return found


def _check_declared(
    weights: Sequence[Weight], parameters: Sequence[Parameter], declared: Mapping[str, str]
) -> None:
    known_weights = {weight.name for weight in weights}
    known_parameters = {parameter.name for parameter in parameters}
    wrong = [name for name in declared if name not in known_parameters]
    wrong += [target for target in declared.values() if target not in known_weights]
    if wrong:
        raise CannotMatch(
            f"TorchSide(weights=...) names {', '.join(wrong)}; the port has "
            f"{', '.join(sorted(known_parameters))}; the reference has "
            + ", ".join(sorted(known_weights))
        )


def _in_order(
    weights: Sequence[Weight], parameters: Sequence[Parameter]
) -> dict[str, Weight] | None:
    if len(weights) != len(parameters):
        return None
    pairs = list(zip(weights, parameters, strict=True))
    if all(_kind(weight, parameter) for weight, parameter in pairs):
        return {parameter.name: weight for weight, parameter in pairs}
    return None


def _by_shape(weights: Sequence[Weight], parameters: Sequence[Parameter]) -> dict[str, Weight]:
    choices = {w.name: [p.name for p in parameters if _kind(w, p)] for w in weights}
    unique = {names[0] for names in choices.values() if len(names) == 1}
    if len(unique) == len(weights) == len(parameters):
        return {choices[weight.name][0]: weight for weight in weights}
    raise CannotMatch(_difference(weights, parameters))


def _kind(weight: Weight, parameter: Parameter) -> str | None:
    """How ``parameter`` may hold ``weight``, or None if it cannot."""
    kinds: tuple[str, ...]
    if parameter.kind is not None:
        kinds = (parameter.kind,)
    elif len(parameter.shape) >= 3:
        kinds = ("convolution", "as_is")
    elif len(parameter.shape) == 2:
        kinds = ("dense", "as_is")
    else:
        kinds = ("as_is",)
    return next((k for k in kinds if shape_in_torch(weight.shape, k) == parameter.shape), None)


def _difference(weights: Sequence[Weight], parameters: Sequence[Parameter]) -> str:
    """Both lists side by side; what fits nothing on the other side is marked."""
    left = [p for p in parameters if not any(_kind(w, p) for w in weights)]
    right = [w for w in weights if not any(_kind(w, p) for p in parameters)]
    lines = [
        f"the port has {len(parameters)} parameters, the reference {len(weights)} weights, and "
        "they cannot be matched by order and shape:"
    ]
    lines += [f"  {w.name} {w.shape} of the reference: nothing in the port fits" for w in right]
    lines += [f"  {p.name} {p.shape} of the port: nothing in the reference fits" for p in left]
    lines.append("  port: " + ", ".join(f"{p.name} {p.shape}" for p in parameters))
    lines.append("  reference: " + ", ".join(f"{w.name} {w.shape}" for w in weights))
    lines.append("  say which is which: TorchSide(weights={'port.name': 'reference/name', ...})")
    return "\n".join(lines)


def check_weights(
    given: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], where: str
) -> None:
    """Refuse weights that are missing, extra or of another shape, before anything is loaded.

    Raises:
        BadCall: with every name that is wrong.
    """
    wrong = [f"{name} is missing" for name in expected if name not in given]
    wrong += [f"{name} is not a weight of this model" for name in given if name not in expected]
    wrong += [
        f"{name} has shape {tuple(given[name])}, expected {tuple(expected[name])}"
        for name in given
        if name in expected and tuple(given[name]) != tuple(expected[name])
    ]
    if wrong:
        raise BadCall(f"{where} does not fit the model: {'; '.join(wrong)}")
