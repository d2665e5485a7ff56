"""Which of the port's parameters is which of the reference's.

Matched by declaration, else by the layers' names, else where shapes and owners leave no choice,
else in order of registration, else in the order in which the port uses them. Where two of these
orders contradict each other, or none decides, it is asked for and not guessed.
Nothing is ever transposed or skipped because a shape happens to fit some other way round.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence, Set

from parity.correspond import assignment
from parity.errors import BadCall, PortFailed
from parity.values.layouts import shape_in_torch


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

    ``kind`` is one of ``parity.values.layouts.KINDS``, or None where the owner is no standard
    module; then any kind may fit.
    """

    name: str
    shape: tuple[int, ...]
    kind: str | None

    @property
    def owner(self) -> str:
        """The module that holds it: "features.0" for "features.0.weight"."""
        return self.name.rpartition(".")[0]


@dataclasses.dataclass(frozen=True)
class Match:
    """One parameter and the weight that it holds."""

    parameter: str
    weight: str
    kind: str


class CannotMatch(PortFailed):
    """Weights and parameters do not correspond; the message lists them."""


Used = Callable[[], Sequence[str] | None]
"""Parameters in the order in which one evaluation of the port first uses them, if it can tell."""


def match(
    weights: Sequence[Weight],
    parameters: Sequence[Parameter],
    declared: Mapping[str, str] | None = None,
    used: Used | None = None,
) -> list[Match]:
    """Pair every weight with one parameter.

    Args:
        used: asked only where shapes, owners and names leave a choice.

    Raises:
        CannotMatch: with the names and shapes that are missing, extra, or of another shape, or with
            the candidates where several assignments are possible.
    """
    declared = dict(declared or {})
    _check_declared(weights, parameters, declared)
    by_weight = {weight.name: weight for weight in weights}
    found = {name: by_weight[target] for name, target in declared.items()}
    taken = set(declared.values())
    open_weights = [weight for weight in weights if weight.name not in taken]
    open_parameters = [p for p in parameters if p.name not in declared]
    found |= _assigned(open_weights, open_parameters, used)
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


def _assigned(
    weights: Sequence[Weight], parameters: Sequence[Parameter], used: Used | None
) -> dict[str, Weight]:
    """Parameter -> the weight that it holds."""
    registered = _in_order(weights, parameters)
    fits = _fits(weights, parameters)
    some = assignment.perfect(fits) if len(weights) == len(parameters) else None
    if some is None:
        if registered is None:
            raise CannotMatch(_difference(weights, parameters))
        return registered
    if (named := _by_name(weights, parameters)) is not None:
        return named

    def told(indices: Mapping[int, int]) -> dict[str, Weight]:
        return {parameters[other].name: weights[item] for item, other in indices.items()}

    choices = assignment.possible(fits)
    if all(len(each) == 1 for each in choices):
        return told(some)
    order = None if used is None else used()
    if order is None and registered is not None:
        return registered
    numbers = {parameter.name: number for number, parameter in enumerate(parameters)}
    ranked = [numbers[name] for name in order or () if name in numbers]
    by_use = assignment.in_order(fits, ranked)
    if by_use is None and registered is not None:
        return registered
    if by_use is None or registered not in (None, told(by_use)):
        raise CannotMatch(_question(weights, parameters, choices))
    return told(by_use)


def _by_name(
    weights: Sequence[Weight], parameters: Sequence[Parameter]
) -> dict[str, Weight] | None:
    """If every layer's name is that of one owner in the port, and their weights fit in order."""
    owners: dict[str, list[Parameter]] = {}
    for parameter in parameters:
        owners.setdefault(parameter.owner.rpartition(".")[2], []).append(parameter)
    layers: dict[str, list[Weight]] = {}
    for weight in weights:
        layers.setdefault(weight.layer.rpartition("/")[2], []).append(weight)
    if owners.keys() != layers.keys():
        return None
    parts = [_in_order(layers[name], owners[name]) for name in layers]
    if None in parts:
        return None
    return {name: weight for part in parts if part is not None for name, weight in part.items()}


def _fits(weights: Sequence[Weight], parameters: Sequence[Parameter]) -> list[set[int]]:
    """For each weight the parameters that may hold it, by shape and by what their owner holds.

    A bias belongs to the layer of its kernel, if one module owns the two.
    """
    kernels = _kernels(parameters)
    by_layer: dict[str, list[Weight]] = {}
    for weight in weights:
        by_layer.setdefault(weight.layer, []).append(weight)

    def together(weight: Weight, parameter: Parameter) -> bool:
        kernel = kernels.get(parameter.owner)
        if kernel in (None, parameter) or not any(_kind(w, kernel) for w in weights):
            return True
        return any(_kind(w, kernel) for w in by_layer[weight.layer] if w is not weight)

    return [
        {n for n, p in enumerate(parameters) if _kind(weight, p) and together(weight, p)}
        for weight in weights
    ]


def _kernels(parameters: Sequence[Parameter]) -> dict[str, Parameter]:
    """Of each owner that holds one layer's parameters, the one of two or more dimensions."""
    owned: dict[str, list[Parameter]] = {}
    for parameter in parameters:
        owned.setdefault(parameter.owner, []).append(parameter)
    found = {}
    for owner, members in owned.items():
        kernels = [member for member in members if len(member.shape) > 1]
        numbered = any(member.name.rpartition(".")[2].isdigit() for member in members)
        if len(kernels) == 1 and not numbered:
            found[owner] = kernels[0]
    return found


def _question(
    weights: Sequence[Weight], parameters: Sequence[Parameter], choices: Sequence[Set[int]]
) -> str:
    """What has to be declared, with the candidates."""
    lines = ["the port's parameters fit the reference's weights in more than one way:"]
    example = ""
    for weight, others in zip(weights, choices, strict=True):
        if len(others) > 1:
            names = [parameters[other].name for other in sorted(others)]
            lines.append(f"  {weight.name} {weight.shape} may be {_either(names)}")
            example = example or f"{names[0]!r}: {weight.name!r}"
    lines.append(f"  say which is which: TorchSide(weights={{{example}, ...}})")
    return "\n".join(lines)


def _either(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


@dataclasses.dataclass(frozen=True)
class Partial:
    """What of a port's parameters can be told, if not all of them can.

    Attributes:
        matches: those that can be nothing else.
        missing: weights of the reference that no parameter holds.
        ambiguous: weights that some parameter may hold, and it cannot be told which.
        extra: parameters that hold no weight, with their shapes.
        candidates: for each ambiguous weight, the parameters that may hold it.
        question: what has to be declared, if every weight has its parameter and it cannot be told
            which; else "".
    """

    matches: list[Match]
    missing: list[str]
    ambiguous: list[str]
    extra: list[str]
    candidates: dict[str, list[str]]
    question: str = ""


def match_partly(
    weights: Sequence[Weight],
    parameters: Sequence[Parameter],
    declared: Mapping[str, str] | None = None,
    used: Used | None = None,
) -> Partial:
    """Align weights and parameters, as many as fit, for a port whose parameters are not all told.

    They are aligned in their order, or in the order of their use if more of them fit so.
    """
    declared = dict(declared or {})
    _check_declared(weights, parameters, declared)
    by_weight = {weight.name: weight for weight in weights}
    by_name = {parameter.name: parameter for parameter in parameters}
    taken = set(declared.values())
    rest = [weight for weight in weights if weight.name not in taken]
    own = [parameter for parameter in parameters if parameter.name not in declared]
    fits, question = _fits(rest, own), ""
    choices = assignment.possible(fits) if len(rest) == len(own) else []
    if choices and all(choices):  # all are there
        pairs = [(i, next(iter(each))) for i, each in enumerate(choices) if len(each) == 1]
        unsure = {i for i, each in enumerate(choices) if len(each) > 1}
        question = _question(rest, own, choices) if unsure else ""
    else:
        pairs, unsure, own = _aligned(rest, own, used)
        fits = _fits(rest, own)
    held = {j for _, j in pairs}
    told = {i for i, _ in pairs}
    unsure |= {i for i in range(len(rest)) if i not in told and fits[i] - held}
    sure = [(by_weight[target], by_name[name]) for name, target in declared.items()]
    sure += [(rest[i], own[j]) for i, j in pairs]
    matches = [
        Match(parameter.name, weight.name, kind)
        for weight, parameter in sure
        if (kind := _kind(weight, parameter)) is not None
    ]
    holding = {match.parameter for match in matches}
    return Partial(
        matches,
        [w.name for i, w in enumerate(rest) if i not in told | unsure],
        [rest[i].name for i in sorted(unsure)],
        [f"{p.name} {p.shape}" for p in parameters if p.name not in holding],
        {rest[i].name: [own[j].name for j in sorted(fits[i] - held)] for i in sorted(unsure)},
        question,
    )


def _aligned(
    weights: Sequence[Weight], parameters: list[Parameter], used: Used | None
) -> tuple[list[tuple[int, int]], set[int], list[Parameter]]:
    """(pairs, weights that are in doubt, the parameters in the order of which these speak)."""
    orders = [parameters]
    if used is not None and (names := used()) is not None:
        rank = {name: number for number, name in enumerate(names)}
        orders.append(sorted(parameters, key=lambda p: rank.get(p.name, len(rank))))
    sizes = [len(assignment.aligned(_fits(weights, own), len(own))) for own in orders]
    own = orders[sizes.index(max(sizes))]
    pairs, unsure = assignment.certain(_fits(weights, own), len(own))
    return sorted(pairs), unsure, own


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
