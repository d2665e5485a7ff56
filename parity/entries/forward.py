"""The network: energies, per-image gradients, activations, and independence of the batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from parity.ask.session import Session
from parity.draw.plan import Plan
from parity.draw.recipes import make_case
from parity.entries.compared import compare_arrays, failed, oracle_trouble, reference_answer
from parity.entries.property import Entry, Property, saved
from parity.errors import PortFailed
from parity.values.cases import Case
from parity.values.exhibits import GradientMaps
from parity.values.randomness import generator
from parity.values.traces import Trace
from parity.verdict.comparison import Comparison, Verdict, compare
from parity.verdict.floor import NETWORK_COPIES
from parity.verdict.outcome import Outcome

NETWORK_CHECKS = ("energies", "energy_gradients", "activations")
BATCH_CHECKS = ("batch_independence",)
NEEDS = ("model",)


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


def properties(session: Session, plan: Plan) -> Iterator[Property]:
    """Over the cases of the network, of its batches, and of the port alone."""

    def networks() -> Iterator[list[Outcome]]:
        for number, recipe in enumerate(plan.networks):
            yield check_network(session, make_case(session, recipe), twice=number == 0)

    def batches() -> Iterator[list[Outcome]]:
        for recipe in plan.batches:
            yield check_batch_independence(session, make_case(session, recipe))

    def relations() -> Iterator[list[Outcome]]:
        for recipe in plan.relations:
            yield check_relations(session, make_case(session, recipe))

    yield Property(
        "networks",
        "energies, gradients and activations",
        NETWORK_CHECKS,
        NEEDS,
        networks,
        len(plan.networks),
    )
    claim = "independence of the batch"
    yield Property("batches", claim, BATCH_CHECKS, NEEDS, batches, len(plan.batches))
    claim = "relations within the port"
    yield Property("relations", claim, BATCH_CHECKS, NEEDS, relations, len(plan.relations))


def saved_properties(session: Session, case: Case) -> Iterator[Property]:
    """Of a case that trains nothing; of one of the port alone, what it was found by."""
    if case.training is not None:
        return
    if case.origin.get("relation"):
        yield saved("the port alone", BATCH_CHECKS, NEEDS, lambda: check_relations(session, case))
        return

    def networks() -> list[Outcome]:
        return [*check_network(session, case), *check_batch_independence(session, case)]

    yield saved("network", (*NETWORK_CHECKS, *BATCH_CHECKS), NEEDS, networks)


ENTRY = Entry(
    ("energies", "energy_gradients", "batch_independence", "activations"),
    properties,
    saved_properties,
)
