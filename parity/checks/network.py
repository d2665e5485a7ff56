"""The network: energies, per-image gradients, activations, and independence of the batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from parity.cases import Case
from parity.comparison import Answer, Comparison, Verdict, compare
from parity.errors import PortFailed
from parity.exhibits import GradientMaps
from parity.floor import NETWORK_COPIES
from parity.outcome import Outcome
from parity.randomness import generator
from parity.session import Session
from parity.traces import Trace

NETWORK_CHECKS = ("energies", "energy_gradients", "activations")


def check_network(session: Session, case: Case, *, twice: bool = False) -> list[Outcome]:
    """Energies (B,), energy gradients (B, H, W, C) and every layer's values before activation.

    Args:
        twice: ask the reference a second time, and require the same bits.
    """
    if not len(case.images):
        return [Outcome(check, (), case) for check in NETWORK_CHECKS]  # nothing to compare
    options = {"copies": NETWORK_COPIES} | ({"twice": True} if twice else {})
    reference, port = session.ask_both("network", case, reference=options)
    if isinstance(port, PortFailed):
        return [failed(check, case, port) for check in NETWORK_CHECKS]
    names = list(reference.arrays["float64"])
    layers = [name for name in names if name.startswith("activations/")]
    extra = sorted(set(port.arrays["float64"]) - set(names))
    activations = [compare_arrays(name, reference, port) for name in layers]
    activations += [
        Comparison(name, Verdict.INVALID, problem=f"the port has {name}, the reference has not")
        for name in extra
    ]
    gradients = compare_arrays("energy_gradients", reference, port)
    maps = GradientMaps.of(
        reference.arrays["float64"]["energy_gradients"],
        port.array("float64", "energy_gradients"),
        gradients.floor,
    )
    return [
        Outcome("energies", (compare_arrays("energies", reference, port),), case),
        Outcome("energy_gradients", (gradients,), case, exhibit=maps),
        Outcome("activations", tuple(activations), case),
    ]


def check_batch_independence(session: Session, case: Case) -> list[Outcome]:
    """Image i's energy and gradient alone, in smaller batches, and in another order.

    The port's answers for each subset are held against the reference's for the whole batch, so
    that a port whose images leak into each other cannot agree with itself.
    """
    size = len(case.images)
    if size < 2:
        return [Outcome("batch_independence", (), case)]
    subsets = [[0], [size - 1], list(range(size - 1)), list(range(size))[::-1]]
    reference, port = session.ask_both(
        "network",
        case,
        reference={"copies": NETWORK_COPIES, "activations": False},
        port={"subsets": subsets, "activations": False},
    )
    if isinstance(port, PortFailed):
        return [failed("batch_independence", case, port)]
    labels = ("first image alone", "last image alone", "batch without the last", "reversed batch")
    comparisons = []
    for number, (label, subset) in enumerate(zip(labels, subsets, strict=True)):
        for name in ("energies", "energy_gradients"):
            answer = reference_answer(reference, name)
            part = dataclasses.replace(answer, float64=answer.float64[subset])
            comparisons.append(
                compare(
                    f"{name} ({label})",
                    part,
                    port.array("float64", f"{name}@{number}"),
                    port.array("float32", f"{name}@{number}"),
                    no_oracle=oracle_trouble(port),
                )
            )
    return [Outcome("batch_independence", tuple(comparisons), case)]


def check_relations(session: Session, case: Case) -> list[Outcome]:
    """What must hold of the port alone: other orders, repetitions and parts of a batch.

    There is no reference here, so the floor is the port's own: how far it lies from itself when
    every input, weight and bias moves by one unit in the last place.
    """
    size = len(case.images)
    if size < 2:
        return [Outcome("batch_independence", (), case)]
    rng = generator(case.key, "relations")
    subsets = {
        "in another order": [int(n) for n in rng.permutation(size)],
        "one image twice": [int(rng.integers(size))] * 2,
        "a part": sorted(int(n) for n in rng.choice(size, size - 1, replace=False)),
    }
    data = session.ask_port(
        "network",
        case=case,
        copies=NETWORK_COPIES,
        activations=False,
        subsets=list(subsets.values()),
    )
    case = dataclasses.replace(case, origin={**case.origin, "relation": True})
    if isinstance(data, PortFailed):
        return [failed("batch_independence", case, data)]
    port = Trace.from_bytes(data, "the port")
    whole = port.reduced()
    comparisons: list[Comparison] = []
    for name in ("energies", "energy_gradients"):
        answer = reference_answer(whole, name)
        if answer.float64.shape[:1] != (size,):
            problem = f"{name} has shape {answer.float64.shape} from the port for {size} images"
            comparisons.append(Comparison(name, Verdict.INVALID, problem=problem))
            continue
        comparisons += [
            compare(
                f"{name} ({label}), port alone",
                dataclasses.replace(answer, float64=answer.float64[subset]),
                port.array("float64", f"{name}@{number}"),
                None,
                no_oracle=oracle_trouble(port),
            )
            for number, (label, subset) in enumerate(subsets.items())
        ]
    return [Outcome("batch_independence", tuple(comparisons), case)]


def compare_arrays(name: str, reference: Trace, port: Trace) -> Comparison:
    """One named array of two traces."""
    return compare(
        name,
        reference_answer(reference, name),
        port.array("float64", name),
        port.array("float32", name),
        no_oracle=oracle_trouble(port),
        same_bits=reference.same_bits(port, name),
    )


def reference_answer(reference: Trace, name: str) -> Answer:
    """The reference's array with its floors."""
    floors = {p: _floor(reference.floors[p], name) for p in ("float64", "float32")}
    return Answer(
        float64=reference.arrays["float64"][name],
        floor64=floors["float64"],
        error32=float(np.max(reference.errors[name])),
        floor32=floors["float32"],
    )


def oracle_trouble(port: Trace) -> str | None:
    """Why the port's float64 run is none, naming the operations, or None."""
    operations = port.notes.get("not_float64")
    return (
        f"in a float64 run the port computes in float32 at {', '.join(operations)}"
        if operations
        else None
    )


def failed(check: str, case: Case | None, error: PortFailed) -> Outcome:
    """The outcome of a check whose port raised, hung or died."""
    notes = getattr(error, "__notes__", None)
    return Outcome(check, (), case, failure=str(error), traceback=notes[0] if notes else None)


def _floor(floors: Mapping[str, np.ndarray], name: str) -> float:
    return float(np.max(floors[name]))
