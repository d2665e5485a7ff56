"""The sampler's own noise.

Shared randomness would hide a fault in it, so here both sides draw for themselves and a statistical
test compares. Seeds are fixed, so a verdict never changes from run to
run; the significance is 1e-6, so a correct port is refused by about one seed in a million.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy import special

from parity.ask.session import Session
from parity.draw.plan import Plan
from parity.draw.recipes import make_case
from parity.entries.compared import failed
from parity.entries.property import Entry, Property
from parity.errors import PortFailed
from parity.values import archive
from parity.values.cases import Case
from parity.verdict.comparison import Comparison, Verdict
from parity.verdict.outcome import Outcome

SIGNIFICANCE = 1e-6


def check_noise(session: Session, case: Case) -> list[Outcome]:
    """The port's un-intercepted noise is distributed as the reference's own.

    What the reference's noise is by every test of its own (N(0, sigma); anew for each step, image
    and pixel) the port's must be too; what it is not is no claim.

    The case starts from the middle of the images' range with step size 0, so that every step adds
    noise and nothing else, and with noise too small for a clip to bind. A reference whose noise is
    scaled by the step size shows none then: it is asked on a network of weights 0, whose gradients
    are 0 whatever the step size.
    """
    assert case.sampler is not None
    seed = case.key
    reference_data = session.ask_reference("unintercepted_samples", case, seed=seed)
    arrays, reference_about = archive.from_bytes(reference_data, "the reference")
    theirs = _added(case, arrays["samples"])
    if not (np.isfinite(theirs).all() and theirs.any()):
        case = _flat(case)
        reference_data = session.ask_reference("unintercepted_samples", case, seed=seed)
        arrays, reference_about = archive.from_bytes(reference_data, "the reference")
        theirs = _added(case, arrays["samples"])
    data = session.ask_port("unintercepted_samples", case=case, seed=seed)
    if isinstance(data, PortFailed):
        return [failed("noise_distribution", case, data)]
    if not np.isfinite(theirs).all():
        problem = "the reference's own noise is not finite: nothing can be held against it"
        unseen = Comparison("noise", Verdict.UNCHECKED, problem=problem)
        return [Outcome("noise_distribution", (unseen,), case)]
    arrays, about = archive.from_bytes(data, "the port")
    if arrays["samples"].shape != theirs.shape:
        text = f"samples have shape {arrays['samples'].shape}, the reference's {theirs.shape}"
        return [Outcome("noise_distribution", case=case, failure=text)]
    ours = _added(case, arrays["samples"])
    assert case.sampler is not None
    findings, p_value = compared_noise(theirs, ours, case.sampler.noise)
    repeated = []
    again = sorted(set(about["repeated"]) - set(reference_about["repeated"]))
    again = [step for step in again if ours[step].any()]
    if again:
        steps = "" if len(again) == len(ours) else f" in {_steps(again)}"
        text = (
            "two calls of generate_samples, one after the other and nothing seeded between them, "
            f"draw the same noise{steps}; the reference's two differ"
        )
        part = "generate_samples/noise"
        repeated.append({"id": "noise-seeded", "message": text, "part": part})
    notes = {"sigma": case.sampler.noise, "measured": float(ours.std()), "p_value": p_value}
    return [
        Outcome(
            "noise_distribution",
            (),
            case,
            findings=(
                *repeated,
                *({"id": "noise-scale", "message": text} for text in findings),
            ),
            notes=notes,
            looked=True,
        )
    ]


def _added(case: Case, samples: np.ndarray) -> np.ndarray:
    """What each step added, (steps, B, H, W, C)."""
    samples = samples.astype(np.float64)
    return np.diff(samples, axis=0, prepend=case.images[np.newaxis].astype(np.float64))


def _flat(case: Case) -> Case:
    """The case on weights 0, with a step size as large as its noise."""
    assert case.sampler is not None
    return dataclasses.replace(
        case,
        weights={name: np.zeros_like(array) for name, array in case.weights.items()},
        sampler=dataclasses.replace(case.sampler, step_size=case.sampler.noise),
    )


def _steps(numbers: list[int]) -> str:
    word = "step" if len(numbers) == 1 else "steps"
    return f"{word} {', '.join(str(number) for number in numbers)}"


def compared_noise(theirs: np.ndarray, ours: np.ndarray, sigma: float) -> tuple[list[str], float]:
    """What is wrong with the noise ``ours`` (steps, B, H, W, C), if ``theirs``, finite, is right.

    Returns:
        Each in words, and the p-value that both are of one distribution. Where the reference draws
        the same for neighbours, one of them stands for all: no test is of more numbers than were
        drawn.
    """
    known = noise_findings(theirs, sigma)
    once = tuple(slice(0, 1) if axis in known else slice(None) for axis in AXES)
    one, other = theirs[once], ours[once]
    known |= noise_findings(one, sigma)
    found = noise_findings(other if np.isfinite(ours).all() else ours, sigma)
    findings = [text for kind, text in found.items() if kind not in known]
    if "finite" in found:
        return findings, 0.0
    p_value = two_samples(other.ravel(), one.ravel())
    if p_value < SIGNIFICANCE:
        findings.append(
            f"the noise of one step is distributed unlike the reference's: standard deviation "
            f"{other.std():.6g} against {one.std():.6g} (Kolmogorov-Smirnov, two "
            f"samples of {one.size}, p = {p_value:.2g})"
        )
    return findings, p_value


AXES = ("steps", "images", "rows", "columns", "channels")


def noise_findings(noise: np.ndarray, sigma: float) -> dict[str, str]:
    """What ``noise`` (steps, B, H, W, C) is not, of N(0, sigma) and independent.

    Returns:
        In words, under "finite", "normal", or the axis along which neighbours are correlated.
    """
    if not np.isfinite(noise).all():  # no test below would say anything of it
        text = f"the noise is not finite in {int((~np.isfinite(noise)).sum())} of {noise.size}"
        return {"finite": text}
    found = {}
    values = noise.ravel()
    p_value = normal(values, sigma)
    if p_value < SIGNIFICANCE:
        found["normal"] = (
            f"the noise is not N(0, {sigma:g}): {values.size} values have mean {values.mean():.3g} "
            f"and standard deviation {values.std():.6g} (Kolmogorov-Smirnov, p = {p_value:.2g})"
        )
    limit_in_sigmas = float(-special.ndtri(SIGNIFICANCE / 2))
    for axis, between in enumerate(AXES):
        along = np.moveaxis(noise, axis, 0)
        one, other = along[:-1], along[1:]
        if one.size < 16 or one.std() == 0 or other.std() == 0:
            continue
        correlation = float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
        if abs(correlation) > limit_in_sigmas / np.sqrt(one.size):
            found[between] = (
                f"the noise of neighbouring {between} is correlated ({correlation:.3f}); "
                "it must be drawn anew for each"
            )
    return found


def normal(values: np.ndarray, sigma: float) -> float:
    """p-value that ``values`` are N(0, sigma): Kolmogorov-Smirnov, with the limiting distribution.

    As ``scipy.stats.kstest``, whose import takes half a second of every run.
    """
    values, n = np.sort(values), values.size
    expected = special.ndtr(values / sigma) if sigma > 0 else np.where(values < 0, 0.0, 1.0)
    ranks = np.arange(n + 1) / n
    distance = max(np.max(ranks[1:] - expected), np.max(expected - ranks[:-1]))
    return float(special.kolmogorov(np.sqrt(n) * distance))


def two_samples(one: np.ndarray, other: np.ndarray) -> float:
    """p-value that both are of one distribution, as ``scipy.stats.ks_2samp``."""
    one, other = np.sort(one), np.sort(other)
    together = np.concatenate([one, other])
    shares = [np.searchsorted(part, together, side="right") / part.size for part in (one, other)]
    n = one.size * other.size / together.size
    return float(special.kolmogorov(np.sqrt(n) * np.abs(shares[0] - shares[1]).max()))


def properties(session: Session, plan: Plan) -> Iterator[Property]:
    """Over the plan's scales of noise, from the middle of the images' range."""

    def noises() -> Iterator[list[Outcome]]:
        for recipe in plan.noises:
            case = make_case(session, recipe)
            middle = np.full_like(case.images, sum(session.pair.image_range) / 2)
            yield check_noise(session, dataclasses.replace(case, images=middle))

    yield Property(
        "noises",
        "the sampler's own noise",
        CHECKS,
        ("model", "generate_samples"),
        noises,
        len(plan.noises),
    )


CHECKS = ("noise_distribution",)
ENTRY = Entry(CHECKS, properties)
