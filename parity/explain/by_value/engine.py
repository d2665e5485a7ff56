"""Where two programs depart, layer after layer, and what the port computes there instead.

A layer whose inputs the port has and whose outputs it has not is where it departs. What the layer
would give if it were another is looked up among what the port computes; found, the reference's own
value is put in its place, and the search goes on behind it, so that faults are told apart. The same
values in another order are told as such. What nothing gives is left unexplained, with its line.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from parity.entries.programs.pair import ProgramPair
from parity.explain.by_value.hypotheses import Hypothesis, hypotheses
from parity.explain.causes import Cause, Explanation, Unexplained, verified
from parity.values.table import Called, Fingerprint, Operation, alike, fingerprint

MOST_ROUNDS = 24
"""How often the search goes on behind what was found."""

BEHIND = 24
"""Operations of the port that are looked at from where it has what a layer is given."""

MOST_ON_THE_WAY = 6
"""Of what a layer may have become, that a right port computes on the way too: how many are looked
for in what comes behind it."""

MOST_OTHERS = 200
"""Layers whose values may be another's input."""

BOUND = 1e-11
"""Relative, of the values of one layer in float64."""

OF_WEIGHTS = {"without", "permuted", "flipped"}
"""Departures that are of a layer's weights."""

CUTS = ("detach", "detach_")
"""Operations behind which no gradient comes back."""

READ = 1e-7
"""Relative, for arrays to be the same values but for what one side holds in float32."""


@dataclasses.dataclass(frozen=True)
class _Found:
    """A cause, and what is to be put in place of what the port computes."""

    cause: Cause
    print: Fingerprint
    right: np.ndarray


def explain_programs(pair: ProgramPair) -> Explanation:
    """Causes of an aligned pair that is red, on its first case."""
    causes: list[Cause] = []
    left: list[Unexplained] = []
    seen: set[str] = set()
    replaced: list[tuple[Fingerprint, np.ndarray]] = []
    try:
        for _ in range(MOST_ROUNDS):
            fresh = [call for call in pair.first_wrong() if call.path not in seen]
            if not fresh:
                break
            for call in fresh:
                seen.add(call.path)
                found = _explained(pair, call)
                if isinstance(found, Unexplained):
                    left.append(found)
                    continue
                causes.append(found.cause)
                replaced.append((found.print, found.right))
            pair.replace(replaced)
        causes += _behind_the_end(pair)
        if not causes and not left:
            left += _only_backward(pair)
    finally:
        pair.replace(())
    return Explanation(tuple(causes), tuple(left))


def _only_backward(pair: ProgramPair) -> Iterator[Unexplained]:
    """What there is to say where no layer departs: values are right, gradients are not."""
    evidence = (
        "every layer of the reference has its values in the port, so that what differs is how "
    )
    evidence += "gradients come back, or what is done outside of layers"
    cut = [o.line for o in pair.port_table.operations if o.name in CUTS and o.line]
    if cut:
        evidence += "; the port cuts a graph off here"
    yield Unexplained("no layer", evidence, place=_shown(cut[0]) if cut else "")


def _explained(pair: ProgramPair, call: Called) -> _Found | Unexplained:
    operations = _from_here(call, pair.port_table.operations)
    weights = [w for w in pair.weights if w["layer"] == call.path]
    tried = list(hypotheses(call, weights, operations))
    given, result, departed = pair.departed(call.path, [h.departure for h in tried])
    if (order := _in_another_order(pair, call, given)) is not None:
        return order
    truth = result["0"]
    index, known = pair.port_table.index(), pair.reference_table.index()
    on_the_way: list[tuple[Hypothesis, np.ndarray]] = []
    for number, hypothesis in enumerate(tried):
        array = departed.get(str(number))
        print_ = None if array is None else fingerprint(array)
        if array is None or print_ is None or print_ not in index:
            continue
        if print_ in known or any(alike(print_, g) for g in call.given):
            on_the_way.append((hypothesis, array))
            continue
        (tensors,) = pair.port_tensors([print_])
        for tensor in tensors:
            found = _proven(call, hypothesis, tensor, array, truth, operations)
            if found is not None:
                return found
    more = _operation_more(pair, call, operations, truth)
    if more is not None:
        return more
    other = _of_another_value(pair, call, given["0"], truth, operations)
    if other is not None:
        return other
    left_out = Hypothesis(
        {}, "layer-missing", "nothing done to its input", "it", f"add {call.kind}"
    )
    for hypothesis, array in (*on_the_way[:MOST_ON_THE_WAY], (left_out, given["0"])):
        found = _shown_behind(pair, call, hypothesis, array, truth)
        if found is not None:
            return found
    return _unexplained(pair, call, operations)


def _operation_more(
    pair: ProgramPair, call: Called, operations: Sequence[Operation], truth: np.ndarray
) -> _Found | None:
    """The layer, of something that the port makes of what the layer is given."""
    known, index = pair.reference_table.index(), pair.port_table.index()
    before = [o for o in operations if _is_given(o, call) and not any(r in known for r in o.result)]
    prints = [o.result[0] for o in before]
    shape = pair.departed(call.path)[0]["0"].shape
    made: list[tuple[Operation, np.ndarray]] = []
    for operation, tensors in zip(before, pair.port_tensors(prints), strict=True):
        for tensor in tensors[:1]:
            for axes in _layouts(tensor.shape, shape):
                made.append((operation, tensor.transpose(axes)))
    hypothesis = [{"given": number} for number in range(len(made))]
    _, _, departed = pair.departed(call.path, hypothesis, [array for _, array in made])
    for number, (operation, _) in enumerate(made):
        array = departed.get(str(number))
        print_ = None if array is None else fingerprint(array)
        if array is None or print_ not in index:
            continue
        what = f"{operation.name}{_arguments(operation)}"
        guess = Hypothesis(
            {}, "operation-extra", f"{what} of what it is given", "it as it is", f"without {what}"
        )
        (tensors,) = pair.port_tensors([print_]) if print_ is not None else ([],)
        for tensor in tensors:
            found = _proven(call, guess, tensor, array, truth, operations)
            if found is not None:
                cause = dataclasses.replace(found.cause, place=_shown(operation.line))
                return dataclasses.replace(found, cause=cause)
    return None


def _of_another_value(
    pair: ProgramPair,
    call: Called,
    given: np.ndarray,
    truth: np.ndarray,
    operations: Sequence[Operation],
) -> _Found | None:
    """The layer, of what another layer of the reference is given or gives."""
    others: list[tuple[str, np.ndarray]] = []
    for each in pair.reference_table.calls[:MOST_OTHERS]:
        if each.path == call.path or not each.result:
            continue
        theirs, results, _ = pair.departed(each.path)
        for words, array in (
            (f"what {_where(each)} gives", results.get("0")),
            (f"what {_where(each)} is given", theirs.get("0")),
        ):
            if array is not None and array.shape == given.shape and not _equal(array, given):
                others.append((words, array))
    asked = [{"given": number} for number in range(len(others))]
    _, _, departed = pair.departed(call.path, asked, [array for _, array in others])
    index, known = pair.port_table.index(), pair.reference_table.index()
    for number, (words, _) in enumerate(others):
        array = departed.get(str(number))
        print_ = None if array is None else fingerprint(array)
        if array is None or print_ is None or print_ not in index or print_ in known:
            continue
        guess = Hypothesis(
            {}, "layer-input", f"{words} for its input", "its own", f"give it its own, not {words}"
        )
        (tensors,) = pair.port_tensors([print_])
        for tensor in tensors:
            found = _proven(call, guess, tensor, array, truth, operations)
            if found is None:
                continue
            made = next(
                o for o in pair.port_table.operations if any(alike(print_, r) for r in o.result)
            )
            cause = dataclasses.replace(found.cause, place=_shown(made.called))
            return dataclasses.replace(found, cause=cause)
    return None


def _shown_behind(
    pair: ProgramPair, call: Called, hypothesis: Hypothesis, array: np.ndarray, truth: np.ndarray
) -> _Found | None:
    """The cause, if a value that a right port has as well is what the port goes on with: the next
    layer is computed of it, or nothing is."""
    operations = pair.port_table.operations
    behind = [
        c
        for c in pair.reference_table.calls
        if c.path != call.path and any(alike(g, r) for g in c.given[:1] for r in call.result)
    ]
    for following in behind:
        _, result, departed = pair.departed(following.path, [{"given": 0}], [array])
        other = departed.get("0")
        print_ = None if other is None else fingerprint(other)
        if other is None or print_ is None or print_ not in pair.port_table.index():
            continue
        (tensors,) = pair.port_tensors([print_])
        for tensor in tensors:
            found = _proven(following, hypothesis, tensor, other, result["0"], operations)
            if found is not None:
                evidence = (
                    f"the port computes {_where(following)} of what this layer gives with "
                    f"{hypothesis.port}; the reference has {hypothesis.reference}"
                )
                cause = dataclasses.replace(found.cause, where=_where(call), evidence=evidence)
                if (place := _place(hypothesis, array, operations)) is not None:
                    cause = dataclasses.replace(cause, place=place)
                return dataclasses.replace(found, cause=cause)
    print_ = fingerprint(array)
    if behind or print_ is None or any(_takes(o, [print_]) for o in operations):
        return None
    (tensors,) = pair.port_tensors([print_])
    for tensor in tensors:
        found = _proven(call, hypothesis, tensor, array, truth, operations)
        if found is not None:
            place = _place(hypothesis, array, operations) or found.cause.place
            return dataclasses.replace(found, cause=dataclasses.replace(found.cause, place=place))
    return None


def _place(
    hypothesis: Hypothesis, array: np.ndarray, operations: Sequence[Operation]
) -> str | None:
    """The line that computes the value which is gone on with, for something is to be added there;
    of a weight the one that makes its layer."""
    print_ = fingerprint(array)
    made = next((o for o in operations if any(alike(print_, r) for r in o.result)), None)
    if made is None:
        return None
    return _shown(made.line if OF_WEIGHTS & hypothesis.departure.keys() else made.called)


def _behind_the_end(pair: ProgramPair) -> Iterator[Cause]:
    """What the port makes of what the reference returns."""
    calls, known = pair.reference_table.calls, pair.reference_table.index()
    for call in calls:
        if any(alike(g, r) for c in calls for g in c.given for r in call.result):
            continue
        if any(call.path.startswith(f"{c.path}/") for c in calls):
            continue
        for operation in pair.port_table.operations:
            if any(use.result in operation.result for use in pair.port_table.uses):
                continue  # a layer, which has its place elsewhere
            if _takes(operation, call.result) and not any(r in known for r in operation.result):
                what = f"{operation.name}{_arguments(operation)}"
                yield Cause(
                    "operation-extra",
                    _where(call),
                    evidence=f"the port has what this layer gives, and computes {what} of it; in "
                    "the reference nothing comes behind it",
                    fix=f"without {what}",
                    place=_shown(operation.line),
                )
                break


def _is_given(operation: Operation, call: Called) -> bool:
    """Whether it makes something new of what the layer is given."""
    return _takes(operation, call.given)


def _takes(operation: Operation, prints: Sequence[Fingerprint]) -> bool:
    """Whether it makes something new of one of these."""
    takes = any(alike(g, own) for g in prints for own in operation.given)
    return takes and not any(alike(r, own) for r in operation.result for own in operation.given)


def _from_here(call: Called, operations: Sequence[Operation]) -> list[Operation]:
    """The port's operations on what the layer is given, and those right behind."""
    taken: dict[int, None] = {}
    for number, operation in enumerate(operations):
        if any(alike(g, own) for g in call.given for own in operation.given):
            taken |= dict.fromkeys(range(number, min(number + BEHIND, len(operations))))
    return [operations[number] for number in taken]


def _proven(
    call: Called,
    hypothesis: Hypothesis,
    tensor: np.ndarray,
    departed: np.ndarray,
    truth: np.ndarray,
    operations: Sequence[Operation],
) -> _Found | None:
    """The cause, if the tensor of the port is the layer as the hypothesis has it."""
    for axes in _layouts(departed.shape, tensor.shape):
        here = departed.transpose(axes)
        scale = max(float(np.abs(here).max(initial=0.0)), 1e-300)
        after = float(np.abs(tensor - here).max(initial=0.0)) / scale
        if after > READ:
            continue
        right = truth.transpose(axes) if truth.ndim == len(axes) else None
        if right is None or right.shape != tensor.shape:
            continue
        before = float(np.abs(tensor - right).max(initial=0.0)) / scale
        if not verified(before, after, BOUND):
            continue
        print_ = fingerprint(tensor)
        assert print_ is not None
        line = hypothesis.line or next(
            (o.line for o in operations if any(alike(print_, r) for r in o.result)), ""
        )
        cause = Cause(
            hypothesis.id,
            _where(call),
            before,
            after,
            f"the port computes what this layer gives with {hypothesis.port}; the reference has "
            f"{hypothesis.reference}",
            hypothesis.fix,
            place=_shown(line),
        )
        return _Found(cause, print_, np.ascontiguousarray(right))
    return None


def _layouts(shape: Sequence[int], port: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Orders of axes that bring the reference's shape to the port's, the usual ones first."""
    if len(shape) != len(port):
        return
    n = len(shape)
    usual = [tuple(range(n)), (0, n - 1, *range(1, n - 1))] if n > 2 else [tuple(range(n))]
    others = itertools.permutations(range(n)) if n <= 5 else ()
    for axes in dict.fromkeys((*usual, *others)):
        if tuple(shape[a] for a in axes) == tuple(port):
            yield axes


def _in_another_order(
    pair: ProgramPair, call: Called, given: dict[str, np.ndarray]
) -> _Found | None:
    """What the layer is given has the right values in the port, and none of it in their order."""
    for array in given.values():
        print_ = fingerprint(array)
        if print_ is None:
            continue
        (tensors,) = pair.port_tensors([print_])
        same = [t for t in tensors if sorted(t.shape) == sorted(array.shape)]
        if not same or any(_equal(array, t) for t in same):
            continue
        for tensor in same[::-1]:
            for axes in _layouts(array.shape, tensor.shape):
                right = array.transpose(axes)
                scale = float(np.abs(right).max())
                before = float(np.abs(tensor - right).max()) / scale
                sorted_ = np.sort(tensor.ravel()), np.sort(right.ravel())
                after = float(np.abs(sorted_[0] - sorted_[1]).max()) / scale
                if not verified(before, after, BOUND):
                    continue
                line = next(
                    (
                        o.line
                        for o in pair.port_table.operations[::-1]
                        if any(alike(print_, r) for r in o.result)
                    ),
                    "",
                )
                evidence = "what this layer is given has the right values in another order"
                how, turned = _order(pair, print_, tensor), _turned(right, tensor)
                if how is not None or turned is not None:
                    evidence += f": {how or turned}"
                cause = Cause(
                    "flatten-order" if how is not None else "value-order",
                    _where(call),
                    before,
                    after,
                    evidence,
                    "bring the axes into the reference's order first, channels last"
                    if how is not None
                    else "",
                    place=_shown(line),
                )
                return _Found(cause, print_, np.ascontiguousarray(right))
    return None


def _equal(array: np.ndarray, tensor: np.ndarray) -> bool:
    bound = READ * float(np.abs(array).max(initial=0.0))
    return any(
        bool((np.abs(array.transpose(axes) - tensor) <= bound).all())
        for axes in _layouts(array.shape, tensor.shape)
    )


def _turned(right: np.ndarray, tensor: np.ndarray) -> str | None:
    """Along which axis the port has everything reversed, if it does."""
    for axis in range(right.ndim):
        if np.abs(np.flip(right, axis) - tensor).max() <= READ * np.abs(right).max():
            return f"reversed along axis {axis}"
    return None


def _order(pair: ProgramPair, print_: Fingerprint, tensor: np.ndarray) -> str | None:
    """In which order of axes the port has what the reference flattens or shapes, in words."""
    for call in pair.reference_table.calls:
        if not any(alike(print_, r) for r in call.result) or len(call.given) != 1:
            continue
        if not alike(call.given[0], print_):
            continue
        given, result, _ = pair.departed(call.path, ())
        before = given["0"]
        flat = tensor.reshape(len(tensor), -1)
        for axes in itertools.permutations(range(1, before.ndim)):
            other = before.transpose((0, *axes)).reshape(len(before), -1)
            if other.shape != flat.shape or tensor.shape != result["0"].shape:
                continue
            if (np.abs(other - flat) <= READ * np.abs(flat).max()).all():
                return (
                    f"{call.path} takes axes {list(range(1, before.ndim))} of {before.shape}, the "
                    f"port {list(axes)}"
                )
        if (
            before.reshape(len(before), -1).shape == flat.shape
            and (np.abs(before.reshape(len(before), -1) - flat) <= READ * np.abs(flat).max()).all()
        ):
            return (
                f"the port views as {tensor.shape} what {call.path} shapes into {result['0'].shape}"
            )
    return None


def _unexplained(pair: ProgramPair, call: Called, operations: Sequence[Operation]) -> Unexplained:
    known = pair.reference_table.index()
    first = next(
        (o for o in operations if _is_given(o, call) and not any(r in known for r in o.result)),
        None,
    )
    evidence = "the port has what this layer is given, and not what it gives"
    if first is not None:
        evidence += f"; it computes {first.name}{_arguments(first)} of it"
    return Unexplained(_where(call), evidence, place="" if first is None else _shown(first.line))


def _arguments(operation: Operation) -> str:
    shown = ", ".join(f"{name}={value}" for name, value in operation.arguments.items())
    return f"({shown})" if shown else ""


def _where(call: Called) -> str:
    return f"{call.kind} {call.path}"


def _shown(line: str) -> str:
    """A line, its file relative to the folder if it lies there."""
    file, _, number = line.rpartition(":")
    path = Path(file)
    if file and path.is_relative_to(Path.cwd()):
        return f"{path.relative_to(Path.cwd()).as_posix()}:{number}"
    return line
