"""A reference and a port that are nothing but programs, opened: how they correspond, and whether
they are the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from parity.ask.workers import DEFAULT_TIMEOUT, Worker
from parity.correspond.match import Correspondence, Matching
from parity.correspond.pieces import pieces, slots
from parity.declare.inputs import InputSpec
from parity.entries.programs.align_inputs import Given, ways_of_giving
from parity.entries.programs.draw import drawn
from parity.errors import PortFailed
from parity.side.program import packed, unpacked
from parity.side.repeated import note_difference, refuse_different
from parity.values.randomness import generator
from parity.values.table import Called, Fingerprint, Table, fingerprint, meet
from parity.values.traces import PRECISIONS, Trace
from parity.verdict.comparison import POWER, Answer, Comparison, Verdict, compare
from parity.verdict.outcome import CheckResult, Outcome, pool

CHECKS = ("outputs", "input_gradients", "parameter_gradients", "batch_independence")

BATCH = 3
"""Rows of a case: reductions are invisible in one, and two hide what three show."""

SPATIAL = ("Conv", "BatchNorm", "GroupNorm", "InstanceNorm")
"""Kinds of modules whose channels come first."""

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class ProgramCase:
    """Weights and inputs that both sides are given.

    Attributes:
        name: for people, "drawn weights 1".
        weights: of the reference, float32, by name.
        inputs: canonical, by the reference's names.
        key: names the cotangents and the moved copies.
    """

    name: str
    weights: Arrays
    inputs: Arrays
    key: int


class ProgramPair:
    """Both programs in processes of their own; use as a context manager.

    Args:
        reference, port: SPECs of a model or of what builds one.
        inputs: what was said of the inputs, in the order of the reference's arguments.
        timeout: seconds a side may take for one answer.
    """

    def __init__(
        self,
        reference: str,
        port: str,
        inputs: Sequence[InputSpec] = (),
        *,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> None:
        self.said_inputs = list(inputs)
        said = [spec.to_plain() for spec in inputs]
        self.reference = Worker("reference", None, reference, timeout=timeout, inputs=said)
        try:
            self.port = Worker("port", None, port, timeout=timeout, inputs=said)
        except BaseException:
            self.reference.close()
            raise
        self.weights: list[dict[str, Any]] = []
        self.parameters: list[dict[str, Any]] = []
        self.inputs: list[InputSpec] = []
        self.given = Given((), frozenset())
        self.outputs: dict[str, tuple[str, bool]] = {}
        self.correspondence = Correspondence(())
        self.reference_table = Table((), (), ())
        self.port_table = Table((), (), ())
        self._ways: list[Given] = []
        self._case: ProgramCase | None = None
        self._extra: dict[str, None] = {}
        self._changed: dict[str, None] = {}
        self._replaced: list[tuple[Fingerprint, np.ndarray]] = []

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End both processes."""
        self.reference.close()
        self.port.close()

    def _open(self) -> None:
        self._read(self.reference.receive(), self.port.receive())

    def _read(self, about: Mapping[str, Any], port_about: Mapping[str, Any]) -> None:
        """What both sides say of themselves, and how the port takes its inputs."""
        self._about, self._port_about = about, port_about
        self.weights, self.parameters = list(about["weights"]), list(port_about["parameters"])
        self.inputs = [InputSpec.from_plain(dict(plain)) for plain in about["inputs"]]
        self._case = self.drawn_case(0)
        self._extra, self._changed, self._replaced = {}, {}, []
        self._ways = ways_of_giving(
            self.inputs,
            port_about["arguments"],
            lambda inputs, named: self.port.ask("accepts", case=packed(inputs=inputs), named=named),
            self._case.inputs,
        )
        self._take(self._ways[0])

    def _take(self, given: Given) -> None:
        self.given = given
        self.port.ask("take", named=given.named)

    # Cases.

    def reopen(self, *, reference: str | None = None, port: str | None = None) -> Self:
        """Other programs in the same two processes, which take long to start."""
        said = [spec.to_plain() for spec in self.said_inputs]
        for worker, role, spec in (
            (self.reference, "reference", reference),
            (self.port, "port", port),
        ):
            if spec is not None:
                worker.send("open", pair=None, role=role, spec=spec, inputs=said)
        try:
            about = self.reference.receive() if reference is not None else self._about
        finally:  # an answer that nobody takes would be that to the next question
            port_about = self.port.receive() if port is not None else self._port_about
        self._read(about, port_about)
        return self

    def environment(self) -> dict[str, str]:
        """Versions of both sides."""
        return {**self.reference.ask("environment"), **self.port.ask("environment")}

    def said(self) -> list[str]:
        """How the port takes its inputs, and what of either side corresponds to nothing."""
        found = self.correspondence
        lines = [f"the port takes {self.given.words}"]
        if len(self._ways) > 1:
            lines[0] += (
                f": it runs in {len(self._ways)} ways, and so most of what the reference computes "
                "inside is found in it"
            )
        if self.port_table.stopped is not None:
            lines.append(f"the port stops half-way: {self.port_table.stopped}")
        if found.missing:
            missing = ", ".join(piece.words for piece in found.missing)
            lines.append(f"no parameter of the port holds {missing}")
        if found.filled:
            filled = ", ".join(f"{name} = {number:g}" for name, number in found.filled.items())
            lines.append(
                f"without a weight of the reference: {filled}; a program that trains them trains "
                "what the reference has not"
            )
        if found.unused:
            lines.append(f"parameters that hold no weight: {', '.join(found.unused)}")
        return lines

    def departures(self, checks: Sequence[CheckResult]) -> list[str]:
        """Where the port departs, of a port that is not green."""
        lines = [f"the port writes to its input {name}" for name in self._changed]
        if all(check.verdict.green for check in checks):
            return lines
        return lines + [
            f"the port departs at {call.kind} {call.path}: it has what that layer is given, and "
            "not what it gives"
            for call in self.first_wrong()
        ]

    def drawn_case(self, number: int) -> ProgramCase:
        """Weights and inputs drawn from ``number``; statistics of normalisations from a batch."""
        rng = generator(number, "program")
        inputs = {spec.name: spec.drawn(BATCH, rng) for spec in self.inputs}
        weights = drawn(self.weights, rng)
        if any("variance" in (w.get("role") or "") for w in self.weights):
            many = {spec.name: spec.drawn(16, rng) for spec in self.inputs}
            answer = self.reference.ask("settled", case=packed(weights=weights, inputs=many))
            weights = unpacked(answer)["weights"]
        return ProgramCase(f"drawn weights {number}", weights, inputs, number)

    def initial_case(self) -> ProgramCase:
        """The model's own initial weights."""
        weights = unpacked(self.reference.ask("initial")).get("weights", {})
        rng = generator(0, "program/initial")
        inputs = {spec.name: spec.drawn(BATCH, rng) for spec in self.inputs}
        return ProgramCase("the model's own initial weights", weights, inputs, 1000)

    def cases(self, n: int, seed: int) -> Iterator[ProgramCase]:
        """``n`` of drawn weights, and one of the model's own."""
        for number in range(seed, seed + n):
            yield self._case if number == 0 and self._case is not None else self.drawn_case(number)
        yield self.initial_case()

    # How they correspond.

    def align(self) -> Correspondence:
        """Find which parameter holds which weight, on the first case."""
        case = self._case
        assert case is not None
        whole = self.reference.ask("table", case=packed(weights=case.weights, inputs=case.inputs))
        self.reference_table = Table.from_plain(whole)
        operations: dict[str, list[str]] = {}
        for use in self.reference_table.uses:
            operations.setdefault(use.weight, []).append(use.operation)
        if len(self._ways) > 1:
            self._take(self._likeliest(case, operations))
        matching = self._matching(case, operations)
        self.correspondence = matching.find()
        self.port_table = matching.run()
        self.outputs = self._align_outputs(case)
        return self.correspondence

    def _likeliest(self, case: ProgramCase, operations: Mapping[str, Sequence[str]]) -> Given:
        """Of several ways to run the port, that in which most of the reference is found in it.

        Inside: outputs are what is judged, and do not count. Where that decides nothing, channels
        come first in a port of convolutions.
        """
        exact = self._reference(case).arrays["float64"]
        outputs = [fingerprint(a) for n, a in exact.items() if n.startswith("outputs/")]
        judged = [print_ for print_ in outputs if print_ is not None]
        convolves = any(p["kind"].startswith(SPATIAL) for p in self.parameters)
        ranked = []
        for number, way in enumerate(self._ways):
            self._take(way)
            matching = self._matching(case, operations)
            matching.find()
            score = matching.score(matching.run(), judged)
            first = len(way.channels_first)
            ranked.append((-score, -first if convolves else first, number))
        return self._ways[min(ranked)[2]]

    def _matching(self, case: ProgramCase, operations: Mapping[str, Sequence[str]]) -> Matching:
        inputs = self.given.given(case.inputs)

        def run(values: Arrays) -> Table:
            plain = self.port.ask("table", case=packed(values=values, inputs=inputs))
            return Table.from_plain(plain)

        return Matching(
            self.reference_table,
            pieces(self.weights, operations),
            slots(self.parameters),
            case.weights,
            self._shapes,
            run,
        )

    @property
    def _shapes(self) -> dict[str, list[int]]:
        return {p["name"]: list(p["shape"]) for p in self.parameters}

    def values(self, case: ProgramCase) -> Arrays:
        """The port's parameters for the case's weights."""
        return self.correspondence.values(case.weights, self._shapes)

    def _align_outputs(self, case: ProgramCase) -> dict[str, tuple[str, bool]]:
        """The reference's output -> the port's, and whether its channels come first.

        Raises:
            BadCall: their number or their shapes agree in no order of axes.
        """
        truth = self._reference(case)
        shapes = {
            name.removeprefix("outputs/"): array.shape
            for name, array in truth.arrays["float64"].items()
            if name.startswith("outputs/")
        }
        found: Mapping[str, Sequence[int]] = self.port.ask(
            "outputs", case=packed(values=self.values(case), inputs=self.given.given(case.inputs))
        )
        if len(found) != len(shapes):
            raise PortFailed(
                f"the reference has {len(shapes)} outputs ({_shown(shapes)}), the port "
                f"{len(found)} ({_shown(found)})"
            )
        by_name = set(found) == set(shapes) and not all(name.isdigit() for name in shapes)
        pairs = [(n, n) for n in shapes] if by_name else _paired(shapes, found)
        return {name: (own, self._channels_first(shapes[name], found[own])) for name, own in pairs}

    def _channels_first(self, reference: Sequence[int], port: Sequence[int]) -> bool:
        """Whether an output has its channels first: by its shape, and where that fits both ways
        by how the port takes its inputs."""
        reference, port = tuple(reference), tuple(port)
        if len(reference) < 3 or len(port) != len(reference):
            return False
        moved = (reference[0], reference[-1], *reference[1:-1])
        if port == moved != reference:
            return True
        return port == reference == moved and len(port) >= 4 and bool(self.given.channels_first)

    # What each computes inside, on the first case.

    def departed(
        self,
        path: str,
        departures: Sequence[Mapping[str, Any]] = (),
        others: Sequence[np.ndarray] = (),
    ) -> tuple[Arrays, Arrays, Arrays]:
        """What the reference's layer at ``path`` is given and gives, and what it would give if it
        were another (``parity.frameworks.tensorflow.departures``), by number.

        Args:
            others: what it may be given instead.
        """
        assert self._case is not None
        data = packed(
            weights=self._case.weights,
            inputs=self._case.inputs,
            others={str(number): array for number, array in enumerate(others)},
        )
        found = unpacked(
            self.reference.ask("departed", case=data, path=path, departures=departures)
        )
        return found.get("given", {}), found.get("result", {}), found.get("departed", {})

    def port_tensors(self, wanted: Sequence[Fingerprint]) -> list[list[np.ndarray]]:
        """The port's tensors that have each of these fingerprints, in order."""
        found = unpacked(self.port.ask("tensors", wanted=wanted, **self._replacing())).get(
            "tensors", {}
        )
        return [[a for n, a in found.items() if n.startswith(f"{k}/")] for k in range(len(wanted))]

    def replace(self, replaced: Sequence[tuple[Fingerprint, np.ndarray]]) -> None:
        """Look at the port again, with other values in place of the tensors that have these
        fingerprints."""
        self._replaced = list(replaced)
        self.port_table = Table.from_plain(self.port.ask("table", **self._replacing()))

    def _replacing(self) -> dict[str, Any]:
        assert self._case is not None
        arrays = {str(number): array for number, (_, array) in enumerate(self._replaced)}
        groups = {"values": self.values(self._case), "inputs": self.given.given(self._case.inputs)}
        data = packed(**groups, replaced=arrays)
        return {"case": data, "replaced": [print_ for print_, _ in self._replaced]}

    # Whether they are the same.

    def _reference(self, case: ProgramCase) -> Trace:
        data = packed(weights=case.weights, inputs=case.inputs)
        answer = self.reference.ask("forward", case=data, key=case.key)
        return Trace.from_bytes(answer, "the reference").reduced()

    def _refuse_a_random_reference(self, case: ProgramCase) -> None:
        """Ask the reference twice: what it draws of its own would go into its floors.

        Raises:
            ReferenceFailed: it gives other bits.
        """
        data = packed(weights=case.weights, inputs=case.inputs)
        one, other = (
            Trace.from_bytes(
                self.reference.ask("forward", case=data, key=case.key), "the reference"
            )
            for _ in range(2)
        )
        notes: dict[str, Any] = {}
        for precision, arrays in one.arrays.items():
            note_difference(notes, arrays, other.arrays[precision])
        refuse_different(notes, "its outputs and gradients")

    def _port(self, case: ProgramCase) -> Trace:
        data = packed(values=self.values(case), inputs=self.given.given(case.inputs))
        outputs = {name: list(own) for name, own in self.outputs.items()}
        answer = self.port.ask("forward", case=data, key=case.key, outputs=outputs)
        trace = Trace.from_bytes(answer, "the port")
        self._changed |= dict.fromkeys(trace.notes["changed"])
        return dataclasses.replace(
            trace, arrays={p: self._canonical(named) for p, named in trace.arrays.items()}
        )

    def _canonical(self, named: Mapping[str, np.ndarray]) -> Arrays:
        shapes = {w["name"]: tuple(w["shape"]) for w in self.weights}
        kind = "parameter_gradients/"
        own = {n.removeprefix(kind): a for n, a in named.items() if n.startswith(kind)}
        found = {n: a for n, a in named.items() if not n.startswith(kind)}
        least = max((float(np.abs(a).max(initial=0.0)) for a in own.values()), default=0.0) * POWER
        self._extra |= {
            name: None
            for name in self.correspondence.unused
            if name in own and np.abs(own[name]).max(initial=0.0) > least
        }
        for name, array in named.items():
            if name.startswith("input_gradients/"):
                given = name.removeprefix("input_gradients/")
                found[name] = self.given.back(given, array)
        gradients = self.correspondence.gradients(own, shapes)
        return found | {f"{kind}{n}": a for n, a in gradients.items()}

    def check(
        self, n: int, seed: int = 0, tell: Callable[[str, int, int], None] = lambda *_: None
    ) -> list[CheckResult]:
        """Compare both on ``n`` cases of drawn weights and one of the model's own.

        What the reference has nothing for is not among the checks: gradients of inputs that are all
        integers, or of weights where none is trained.
        """
        outcomes: dict[str, list[Outcome]] = {name: [] for name in CHECKS}
        for done, case in enumerate(self.cases(n, seed), start=1):
            if done == 1:
                self._refuse_a_random_reference(case)
            for outcome in self._compared(case):
                outcomes[outcome.check].append(outcome)
            tell("outputs and gradients", done, n + 1)
        problem = None
        if self.correspondence.missing:
            missing = ", ".join(piece.words for piece in self.correspondence.missing)
            problem = f"no parameter of the port holds {missing}"
        problems = dict.fromkeys(CHECKS, problem)
        if self._extra:
            problems["parameter_gradients"] = problem or (
                f"the port trains {', '.join(self._extra)}, where the reference has no weight: "
                "leave it out, or set requires_grad to False"
            )
        return [
            pool(name, found, 0.0, unchecked=problems[name])
            for name, found in outcomes.items()
            if found
        ]

    def _compared(self, case: ProgramCase) -> list[Outcome]:
        reference = self._reference(case)
        kinds = {name.partition("/")[0] for name in reference.arrays["float64"]}
        asked = [check for check in CHECKS if check in (*kinds, "batch_independence")]
        try:
            port = self._port(case)
        except PortFailed as error:
            return [_failed(check, error) for check in asked]
        found: dict[str, list[Comparison]] = {name: [] for name in asked}
        for name in reference.arrays["float64"]:
            check = name.partition("/")[0]
            if check == "parameter_gradients" and self._left_out(name):
                continue
            found[check].append(_one(self._worded(name), name, reference, port))
        try:
            found["batch_independence"] = self._alone(case)
        except PortFailed as error:
            del found["batch_independence"]
            alone = [_failed("batch_independence", error)]
        else:
            alone = []
        return [*(Outcome(check, tuple(those)) for check, those in found.items()), *alone]

    def _left_out(self, name: str) -> bool:
        """Whether the gradient is of a weight that no parameter of the port holds whole."""
        weight = name.rpartition("/")[2]
        return not any(p.piece.weight == weight for p in self.correspondence.placed)

    def _alone(self, case: ProgramCase) -> list[Comparison]:
        """The first row alone, and all in another order."""
        comparisons = []
        for words, rows in (("first row alone", [0]), ("reversed", list(range(BATCH))[::-1])):
            part = dataclasses.replace(
                case, inputs={n: np.ascontiguousarray(a[rows]) for n, a in case.inputs.items()}
            )
            reference, port = self._reference(part), self._port(part)
            comparisons += [
                _one(f"{name} ({words})", name, reference, port)
                for name in reference.arrays["float64"]
                if name.startswith(("outputs/", "input_gradients/"))
            ]
        return comparisons

    def _worded(self, name: str) -> str:
        kind, _, rest = name.partition("/")
        if kind != "parameter_gradients":
            return name
        path = next(w["path"] for w in self.weights if w["name"] == rest)
        return f"{kind}/{path}"

    def first_wrong(self) -> list[Called]:
        """Layers whose inputs the port has, whose outputs it has not, and behind which nothing of
        the reference is found again: where the port departs."""
        index = self.port_table.index()
        calls = self.reference_table.calls
        found = []
        for number, call in enumerate(calls):
            if not call.result or any(r in index for r in call.result):
                continue
            if not call.given:
                continue  # no evidence
            if not all(g in index or _is_input(g, calls) for g in call.given):
                continue
            inner = [c for c in calls[number + 1 :] if c.path.startswith(f"{call.path}/")]
            if any(
                c.given
                and all(g in index for g in c.given)
                and not any(r in index for r in c.result)
                for c in inner
            ):
                continue  # the layer inside says more
            behind = [c for c in calls if any(meet(call.result, [g]) for g in c.given)]
            if any(any(r in index for r in c.result) for c in behind if c.path != call.path):
                continue
            found.append(call)
        return found


def _paired(
    shapes: Mapping[str, Sequence[int]], found: Mapping[str, Sequence[int]]
) -> list[tuple[str, str]]:
    """Outputs that no other has the shape of, up to the order of axes; then the rest in order."""

    def alone(of: Mapping[str, Sequence[int]]) -> dict[tuple[int, ...], str]:
        by_shape: dict[tuple[int, ...], list[str]] = {}
        for name, shape in of.items():
            by_shape.setdefault((*shape[:1], *sorted(shape[1:])), []).append(name)
        return {shape: names[0] for shape, names in by_shape.items() if len(names) == 1}

    theirs, ours = alone(shapes), alone(found)
    pairs = {theirs[shape]: ours[shape] for shape in theirs if shape in ours}
    left = [n for n in found if n not in pairs.values()]
    pairs |= dict(zip([n for n in shapes if n not in pairs], left, strict=True))
    return [(name, pairs[name]) for name in shapes]


def _is_input(print_: Any, calls: Sequence[Called]) -> bool:
    return bool(calls) and meet(calls[0].given, [print_])


def _failed(check: str, error: PortFailed) -> Outcome:
    notes = getattr(error, "__notes__", None) or [None]
    return Outcome(check, failure=str(error), traceback=notes[0])


def _one(words: str, name: str, reference: Trace, port: Trace) -> Comparison:
    truth = reference.arrays["float64"][name]
    if truth.dtype.kind != "f":
        return _integers(words, name, reference, port)
    answer = Answer(
        truth,
        float(np.max(reference.floors["float64"][name])),
        float(np.max(reference.errors[name])),
        float(np.max(reference.floors["float32"][name])),
    )
    return compare(
        words,
        answer,
        port.array("float64", name),
        port.array("float32", name),
        same_bits=reference.same_bits(port, name),
        beside=_beside(name, reference),
    )


def _beside(name: str, reference: Trace) -> float:
    """The greatest gradient of a case's: what one that is zero by construction, such as that of
    the bias in front of a normalisation, is zero beside."""
    kind = name.partition("/")[0]
    if not kind.endswith("_gradients"):
        return 0.0
    exact = reference.arrays["float64"]
    sizes = [np.abs(a).max(initial=0.0) for n, a in exact.items() if n.startswith(f"{kind}/")]
    return float(max(sizes))


def _integers(words: str, name: str, reference: Trace, port: Trace) -> Comparison:
    """Indices, such as of an argmax: the same in both precisions, or not."""
    truth = reference.arrays["float64"][name]
    problem = None
    for precision in PRECISIONS:
        ours = port.array(precision, name)
        if ours is None:
            problem = f"the port gave no {name}"
        elif ours.dtype.kind not in "iub":
            problem = f"{name} has dtype {ours.dtype} from the port, {truth.dtype} in the reference"
        elif ours.shape != truth.shape:
            problem = f"{name} has shape {ours.shape} from the port, {truth.shape} in the reference"
        elif precision == "float32" and float(np.max(reference.errors[name])) > 0:
            continue  # the reference's own float32 run decides otherwise
        elif not np.array_equal(truth, ours):
            differ = truth != ours
            at = tuple(int(i) for i in np.argwhere(differ)[0])
            problem = (
                f"{name} is {ours[at]} at index {at} from the port ({precision}), {truth[at]} in "
                f"the reference ({int(differ.sum())} of {truth.size} elements differ)"
            )
        if problem is not None:
            return Comparison(words, Verdict.DIVERGENT, size=truth.size, problem=problem)
    return Comparison(words, Verdict.IDENTICAL, size=truth.size)


def _shown(shapes: Mapping[str, Sequence[int]]) -> str:
    return ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
