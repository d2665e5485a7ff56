"""The story's page: figures, a table of numbers, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ebm.story.runs import BATCH, EARLY, N_HELD_OUT, NOISE, PROGRAMS, SAMPLE_STEPS
from parity.verdict.comparison import FLOAT64_FLOORS
from parity.verdict.outcome import CheckResult

Seen = Mapping[tuple[str, str], Mapping[str, np.ndarray]]

COLOURS = {"a": "#1b1b1b", "b": "#2a7fba", "c": "#c8442f", "d": "#c99a1d", "a'": "#8a8a8a"}
STYLES = {"a": "-", "b": "--", "c": "-", "d": "-", "a'": "-"}
SHOWN = ("a", "b", "c", "d")


def write_page(
    path: Path,
    seen: Seen,
    checks: Mapping[str, list[CheckResult]],
    updates: int,
    float64_updates: int,
) -> None:
    """Write the page and, beside it in ``story/``, its figures."""
    folder = path.parent / "story"
    folder.mkdir(parents=True, exist_ok=True)
    single = {name: seen["float32", name] for name in SHOWN}
    _curves(folder / "loss.svg", single, "losses/contrastive_divergence", "training divergence")
    _looks(folder / "validation.svg", single, "validation", "validation contrastive divergence")
    _looks(folder / "gradient.svg", single, "gradient_step", "step of the sampler, r.m.s.", NOISE)
    drift = _drift(folder / "float64.svg", seen)
    for when in ("early", "end"):
        _samples(folder / f"samples_{when}.png", single, when)
    path.write_text(_text(single, checks, drift, updates, float64_updates))


def _figure(height: float = 3.2) -> tuple[Figure, Any]:
    figure = Figure(figsize=(7.2, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    options: dict[str, Any] = {"dpi": 110}
    if path.suffix == ".svg":
        options["metadata"] = {"Date": None}  # the same numbers give the same file
    figure.savefig(path, **options)


def _curves(path: Path, runs: Mapping[str, Any], key: str, label: str) -> None:
    figure, axes = _figure()
    for name, run in runs.items():
        values = np.convolve(run[key], np.ones(10) / 10, mode="valid")
        x = np.arange(len(values)) + 10
        axes.plot(x, values, STYLES[name], color=COLOURS[name], label=_label(name))
    axes.set(xlabel="update (mean of the last 10)", ylabel=label)
    axes.legend(frameon=False)
    _save(figure, path)


def _looks(
    path: Path, runs: Mapping[str, Any], key: str, label: str, line: float | None = None
) -> None:
    figure, axes = _figure()
    for name, run in runs.items():
        axes.plot(run["look_at"], run[key], STYLES[name], color=COLOURS[name], label=_label(name))
    if line is not None:
        axes.set_yscale("log")
        axes.axhline(line, color="#777777", linestyle=":", label=f"the noise, {line}")
    axes.set(xlabel="update", ylabel=label)
    axes.legend(frameon=False)
    _save(figure, path)


def _drift(path: Path, seen: Seen) -> dict[str, np.ndarray]:
    """How far kernels are from the reference's, update by update, relative to the largest."""
    truth = seen["float64", "a"]["weights"]
    size = np.abs(truth).max(axis=1)
    drift = {
        name: np.abs(seen["float64", name]["weights"] - truth).max(axis=1) / size
        for name in ("b", "a'")
    }
    figure, axes = _figure()
    x = np.arange(len(size)) + 1
    for name, values in drift.items():
        values = np.maximum(values, np.finfo(np.float64).eps / 4)
        axes.plot(x, values, STYLES[name], color=COLOURS[name], label=_label(name))
    bound = FLOAT64_FLOORS * np.maximum.accumulate(drift["a'"])
    axes.plot(x, bound, ":", color="#777777", label=f"{FLOAT64_FLOORS:g} floors")
    axes.set_yscale("log")
    axes.set(xlabel="update, float64", ylabel="distance of the kernels from (a), relative")
    axes.legend(frameon=False)
    _save(figure, path)
    return drift


def _samples(path: Path, runs: Mapping[str, Any], when: str) -> None:
    columns = len(runs["a"]["start"])
    figure = Figure(figsize=(7.2, 7.2 * 5 / columns + 0.4), layout="constrained")
    grid = figure.subplots(5, columns)
    rows = {"start": runs["a"]["start"]} | {name: runs[name][f"samples_{when}"] for name in SHOWN}
    for row, (name, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(row, images, strict=True):
            axes.imshow(image[..., 0], cmap="gray", vmin=-1, vmax=1)
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(name if name == "start" else f"({name})")
    _save(figure, path)


def _label(name: str) -> str:
    return f"({name}) {PROGRAMS[name].title}"


def _text(
    runs: Mapping[str, Any],
    checks: Mapping[str, list[CheckResult]],
    drift: Mapping[str, np.ndarray],
    updates: int,
    float64_updates: int,
) -> str:
    rows = "\n".join(_row(name, run, checks.get(name)) for name, run in runs.items())
    steps = {name: float(run["gradient_step"][0]) for name, run in runs.items()}
    last = {name: float(run["gradient_step"][-1]) for name, run in runs.items()}
    validation = {name: float(run["validation"][-1]) for name, run in runs.items()}
    worst = float((drift["b"] / np.maximum.accumulate(np.maximum(drift["a'"], 2.2e-16))).max())
    divergence = {
        name: float(run["losses/contrastive_divergence"][-50:].mean()) for name, run in runs.items()
    }
    first = {name: _first(checks[name]) for name in ("c", "d")}
    return f"""# The story of the notes, run again

Made by `make story`: every figure and number on this page is written by that command.

Somebody ported the energy model from TensorFlow to PyTorch. The network was easy; the training did
not converge, for a long time, until it turned out that the sampler took the gradient of the *mean*
of the scores instead of their *sum*. Here are four programs on the same digits:

- **(a)** the reference, in TensorFlow;
- **(b)** the port, in PyTorch;
- **(c)** the port, with scores averaged instead of summed before the gradient;
- **(d)** the port as it comes out with torch's own defaults: `padding=1`, Kaiming initial weights,
  `torch.optim.Adam`.

All see the same batches of {BATCH} digits in the same order and the same random numbers: noise,
replay buffer, fresh images. (a), (b) and (c) start from the same weights. {updates} updates with the
published settings (60 Langevin steps each), one thread a program.

| program | training divergence, last 50 | validation divergence | sampler's step at first | at the end | roughness of early samples | at the end | red checks in `make parity` |
|---|--:|--:|--:|--:|--:|--:|---|
{rows}

Validation divergence: mean score of uniform noise minus that of {N_HELD_OUT} held-out digits; the
further below 0, the better the two are told apart. Sampler's step: root mean square of what one
Langevin step moves the images of the replay buffer, its noise left out; the noise is {NOISE}.
Roughness: mean absolute difference of neighbouring pixels of samples after {SAMPLE_STEPS} steps from
uniform noise, drawn after {EARLY} updates and at the end; the noise itself has
{_roughness(runs["a"]["start"]):.2f}.

## What the mean does

![The sampler's step against its noise](story/gradient.svg)

A step of the reference moves images by {steps["a"]:.1e} at the start, about as much as the noise,
{NOISE}. With the mean, every gradient is divided by the batch size, and the step is
{steps["c"]:.1e}: {NOISE / steps["c"]:.0f} times smaller than the noise. The chain is a random walk. This
is where {SAMPLE_STEPS} steps from the same noise lead after {EARLY} updates:

![Samples after {EARLY} updates](story/samples_early.png)

So the network is never shown anything but noise to tell digits from, which is easy, and nothing holds
its scores: its training divergence runs away ({divergence["c"]:.1f} where the reference's stays at
{divergence["a"]:.2f}), while its validation divergence *looks better* than the reference's
({validation["c"]:.1f} against {validation["a"]:.1f}). No curve of the usual ones says "wrong"; they say
"very well".

![Contrastive divergence in training](story/loss.svg)

![Contrastive divergence in validation](story/validation.svg)

At the end its scores are so steep that even a step divided by {BATCH} moves images, by {last["c"]:.1e}, still
{NOISE / last["c"]:.1f} times less than the noise; what 250 of them make of noise is one and the same smear:

![Samples after {updates} updates](story/samples_end.png)

No energy is wrong in this program: `energies`, `energy_gradients` and `activations` are all green.
**{first["c"]}**, before any training: the very first step of the sampler is red.

## What the defaults do

(d) trains. Its curves are smooth, its shapes fit, every weight loads, and nothing says that it is another
program; it just ends elsewhere (validation {validation["d"]:.2f} against {validation["a"]:.2f}). Padding 1
shifts and crops every feature map; Kaiming weights are smaller than Glorot's, so the sampler begins with
steps of {steps["d"]:.1e}; torch's Adam has its ε in another place. **{first["d"]}**, and each mistake has a
red check of its own: `activations` sees the padding, `initialisation` the weights, `training_state` the
optimizer.

## What the port does

![Distance from the reference, float64](story/float64.svg)

(b) does what (a) does. In float64, over {float64_updates} updates ({float64_updates * 60} Langevin
steps), its kernels stay within {worst:.1f} noise floors of the reference's ({FLOAT64_FLOORS:g} are allowed),
where a floor is how far the reference gets from *itself* when its initial weights move by one unit in the
last place (a'). The largest distance is {drift["b"].max():.1e}. In float32 the two curves lie on each
other until rounding, amplified by thousands of steps, tells them apart.
"""


def _row(name: str, run: Mapping[str, np.ndarray], checks: list[CheckResult] | None) -> str:
    divergence = float(run["losses/contrastive_divergence"][-50:].mean())
    red = "(is the reference)"
    if checks is not None:
        red = ", ".join(f"`{c.name}`" for c in checks if not c.verdict.green) or "none"
    return (
        f"| {_label(name)} | {divergence:.3f} | {run['validation'][-1]:.3f} "
        f"| {run['gradient_step'][0]:.1e} | {run['gradient_step'][-1]:.1e} "
        f"| {_roughness(run['samples_early']):.3f} | {_roughness(run['samples_end']):.3f} | {red} |"
    )


def _roughness(images: np.ndarray) -> float:
    down, across = np.abs(np.diff(images, axis=1)), np.abs(np.diff(images, axis=2))
    return float((down.mean() + across.mean()) / 2)


def _first(checks: list[CheckResult]) -> str:
    """The first red check and the array at which it first differs."""
    check = next(c for c in checks if not c.verdict.green)
    outcome = check.first_bad
    array = outcome.first_bad.array if outcome is not None and outcome.first_bad else ""
    return f"`{check.name}` is red first{f', at `{array}`' if array else ''}"
