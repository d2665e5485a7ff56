"""Freshly initialised weights: both sides draw for themselves, and a statistical test compares.

Seeds are fixed, and the significance is that of the sampler's noise (``parity.entries.noise``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from parity.ask.session import Session, Settings
from parity.draw.plan import Plan
from parity.entries.compared import failed
from parity.entries.noise import SIGNIFICANCE, two_samples
from parity.entries.property import Entry, Property
from parity.errors import PortFailed
from parity.values import archive
from parity.verdict.outcome import Outcome


def check_initialisation(session: Session, settings: Settings, seeds: list[int]) -> list[Outcome]:
    """Each fresh weight of the port is distributed as the reference's.

    Constants (zero biases) must be equal; all others are compared by a two-sample
    Kolmogorov-Smirnov test over several builds. What the reference draws anew for each build and
    each layer, the port must. A golden keeps a sample of the reference's.
    """
    facts = session.facts(settings)
    shapes = {name: list(shape) for name, shape in zip(facts.names, facts.shapes, strict=True)}
    arguments = {
        "settings": None if settings is None else dict(settings),
        "seeds": seeds,
        "shapes": shapes,
    }
    reference_data = session.reference.ask("initial_weights", **arguments)
    port_data = session.ask_port("initial_weights", **arguments)
    if isinstance(port_data, PortFailed):
        return [failed("initialisation", None, port_data)]
    reference, _ = archive.from_bytes(reference_data, "the reference")
    port, _ = archive.from_bytes(port_data, "the port")
    findings = [*_alike(reference, port, shapes)]
    for name, expected in reference.items():
        if name not in port:
            findings.append((name, f"{name} is missing from the port"))
            continue
        if list(port[name].shape[1:]) != shapes[name]:
            shape = f"{port[name].shape[1:]}, not {shapes[name]}"
            findings.append((name, f"fresh {name} has shape {shape}"))
            continue
        if text := _unlike(expected.ravel(), port[name].ravel()):
            findings.append((name, f"fresh {name} is {text}"))
    return [
        Outcome(
            "initialisation",
            (),
            None,
            findings=tuple(
                {"id": "initializer", "message": text, "part": f"initialisation/{name}"}
                for name, text in findings
            ),
            looked=True,
        )
    ]


def _alike(
    reference: archive.Arrays, port: archive.Arrays, shapes: Mapping[str, list[int]]
) -> Iterator[tuple[str, str]]:
    """Weights that a port draws alike in every build, or alike for several layers.

    Where the reference's differ: constants, and what a reference seeds itself, are no claim. Nor
    are numbers so few, or of so few values, that chance may repeat them.
    """

    def tells(builds: np.ndarray) -> bool:
        values = len(np.unique(builds))
        return bool(builds[0].size * np.log(values) > -np.log(SIGNIFICANCE))

    drawn = [
        name
        for name, builds in reference.items()
        if name in port and list(port[name].shape[1:]) == shapes[name] and tells(builds)
    ]

    def differ(one: np.ndarray, other: np.ndarray) -> bool:
        return not np.array_equal(one, other)

    for name in drawn:
        builds, ours = reference[name], port[name]
        apart = all(differ(builds[0], build) for build in builds[1:])
        if len(ours) > 1 and apart and not any(differ(ours[0], build) for build in ours[1:]):
            text = "is the same in models built from different seeds; the reference's differ"
            yield name, f"fresh {name} {text}"
    for number, name in enumerate(drawn):
        for other in drawn[:number]:
            same_shape = shapes[name] == shapes[other]
            if not (same_shape and differ(reference[name][0], reference[other][0])):
                continue
            if not differ(port[name][0], port[other][0]):
                yield name, f"fresh {name} is that of {other}; the reference's differ"


def _unlike(expected: np.ndarray, found: np.ndarray) -> str | None:
    if not np.isfinite(found).all():
        return f"not finite in {int((~np.isfinite(found)).sum())} of {found.size} elements"
    if np.ptp(expected) == 0 or np.ptp(found) == 0:
        if np.ptp(expected) == np.ptp(found) and expected[0] == found[0]:
            return None
        return f"{_described(found)} in the port, {_described(expected)} in the reference"
    p_value = two_samples(expected, found)
    if p_value < SIGNIFICANCE:
        return (
            f"{_described(found)} in the port, {_described(expected)} in the reference "
            f"(Kolmogorov-Smirnov, p = {p_value:.2g})"
        )
    return None


def _described(values: np.ndarray) -> str:
    if np.ptp(values) == 0:
        return f"always {values[0]:g}"
    return f"within ±{np.abs(values).max():.4g} (standard deviation {values.std():.4g})"


def properties(session: Session, plan: Plan) -> Iterator[Property]:
    """Over the plan's architectures, where a pair claims that fresh weights are drawn alike."""

    def initialisations() -> Iterator[list[Outcome]]:
        for settings, seeds in plan.initialisations:
            yield check_initialisation(session, settings, list(seeds))

    if session.claims("initialisation"):
        yield Property(
            "initialisations",
            "fresh weights",
            CHECKS,
            ("model",),
            initialisations,
            len(plan.initialisations),
        )


CHECKS = ("initialisation",)
ENTRY = Entry(CHECKS, properties)
