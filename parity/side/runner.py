"""What a worker does with a side, whichever the framework.

The framework's own part (``parity.frameworks``) says how to build a network, load weights, evaluate
and sample. What is asked of a side, in both precisions and on moved copies for the noise floor, is
in the modules beside this one, each a function of a runner.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from parity.declare import specs
from parity.declare.declarations import ENTRIES, Pair, Side
from parity.declare.signatures import BoundSampler, bind
from parity.errors import BadCall
from parity.side.sampler_probe import Probe
from parity.side.trainer import Trainer
from parity.side.training_probe import Evaluation, TrainingProbe
from parity.values import layouts
from parity.values.cases import Case
from parity.values.cotangents import cotangent
from parity.values.randomness import SharedRandomness, host_generators_seeded

Arrays = dict[str, np.ndarray]

MODELS_KEPT = 64  # built models, by settings and precision


@dataclasses.dataclass(frozen=True)
class Run:
    """A loaded model in one precision, the case it answers, and where its findings go."""

    model: Any
    case: Case
    precision: str
    notes: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Pulled:
    """What outputs are multiplied by before gradients are taken (``parity.values.cotangents``).

    Attributes:
        key: the case's.
        sign: 1, or -1 for a side whose outputs are the reference's with the other sign.
        layout: the side's.
        rows: which images of the case are evaluated; the first by default.
    """

    key: int
    sign: int
    layout: str
    rows: tuple[int, ...] | None = None

    def by(self, shape: Sequence[int], batch: int, dtype: str) -> np.ndarray:
        """The cotangent of outputs of ``shape``, in the side's own layout."""
        canonical = np.empty(shape, np.bool_)
        canonical = layouts.images_to_canonical(canonical, self.layout)
        values = cotangent(self.key, canonical.shape, batch, self.rows)
        own = layouts.images_from_canonical(values, self.layout)
        return np.asarray(self.sign * own, dtype=dtype)


class SideRunner(abc.ABC):
    """Answers observables for one side.

    Args:
        side: the declaration.
        pair: for ``settings``; None if ``model()`` takes none.
    """

    def __init__(self, side: Side, pair: Pair | None) -> None:
        self.side = side
        self._settings_type = None
        if pair is not None and pair.settings is not None:
            with specs.declaration():
                self._settings_type = specs.entry(pair.settings)
        self._models: dict[tuple[str, str], Any] = {}
        self._sampler: BoundSampler | None = None

    # What the framework's part provides.

    @abc.abstractmethod
    def precision(self, precision: str) -> contextlib.AbstractContextManager[None]:
        """Make ``precision`` the framework's default."""

    @abc.abstractmethod
    def prepared(self, model: Any, precision: str) -> Any:
        """A model fresh from the user's ``model()``, in ``precision``, proven to be so."""

    @abc.abstractmethod
    def load(self, model: Any, case: Case, weights: Mapping[str, np.ndarray]) -> None:
        """Put canonical weights into the model, all of them or, on error, none."""

    @abc.abstractmethod
    def evaluate(self, model: Any, images: np.ndarray, pulled: Pulled) -> Arrays:
        """``energies`` (B,) and ``energy_gradients`` (B, H, W, C).

        Outputs of another shape are answered as they are, canonical; the gradients are those of
        the outputs times their cotangent.
        """

    @abc.abstractmethod
    def evaluated_with_activations(self, run: Run, images: np.ndarray) -> Arrays:
        """As :meth:`evaluate`, and ``activations/<layer>``: what each layer with weights computes,
        before its activation."""

    @abc.abstractmethod
    def sample(
        self, model: Any, case: Case, images: np.ndarray, steps: int, every_step: bool
    ) -> np.ndarray:
        """(steps, B, H, W, C) with ``every_step``, else (1, B, H, W, C)."""

    @abc.abstractmethod
    def intercepted(
        self, model: Any, randomness: SharedRandomness, precision: str, notes: dict[str, Any]
    ) -> contextlib.AbstractContextManager[None]:
        """Serve shared randomness, count the network's evaluations, and note what escapes."""

    @abc.abstractmethod
    def preprocessed(self, images: np.ndarray) -> np.ndarray:
        """``preprocess(images)`` in canonical layout."""

    @abc.abstractmethod
    def as_tensor(self, array: np.ndarray) -> Any:
        """An array of any rank and dtype as it is."""

    @abc.abstractmethod
    def forward(self, model: Any, images: Any) -> Any:
        """What the model returns, not in training."""

    @abc.abstractmethod
    def seed(self, seed: int) -> None:
        """Seed the framework's own generators."""

    @abc.abstractmethod
    def environment(self) -> dict[str, str]:
        """Versions and settings that decide last bits."""

    @abc.abstractmethod
    def initial_weights(
        self, settings: Mapping[str, Any] | None, seeds: list[int], shapes: Mapping[str, list[int]]
    ) -> Arrays:
        """Each weight as freshly built, canonical, one per seed along a new first axis.

        ``shapes`` are the reference's weights in order, by which a port's are named.
        """

    @abc.abstractmethod
    def read_weights(
        self, path: str, shapes: Mapping[str, list[int]], feature_maps: Mapping[str, list[int]]
    ) -> Arrays:
        """The weights in one of the framework's own files, canonical."""

    @abc.abstractmethod
    def write_weights(
        self, path: str, weights: Arrays, feature_maps: Mapping[str, list[int]]
    ) -> None:
        """Write canonical weights as one of the framework's own files."""

    @abc.abstractmethod
    def canonical_images(self, images: np.ndarray) -> np.ndarray:
        """Images in this side's layout, as NHWC."""

    @abc.abstractmethod
    def trainer(self, model: Any, case: Case) -> Trainer:
        """The side's training, around a loaded model; call under :meth:`shared`."""

    @abc.abstractmethod
    def probe_model(self, probe: Probe, evaluations: list[dict[str, Any]]) -> Any:
        """The probe energy as a model of the framework; notes each evaluation and its ``images``,
        canonical."""

    @abc.abstractmethod
    def training_probe(self, probe: TrainingProbe, evaluated: list[Evaluation]) -> Any:
        """The training probe as a model of the framework; keeps the images it is evaluated on."""

    def entered(
        self, entry: str, *given: Any, model: Any = None
    ) -> contextlib.AbstractContextManager[None]:
        """Around one call of the user's code, whatever that is asked for.

        Args:
            given: images that it is handed, which are to be left as they are.
            model: one that it is handed and is to leave as it was.
        """
        return contextlib.nullcontext()

    def rough(self, model: Any) -> contextlib.AbstractContextManager[None]:
        """Let derivatives of smooth activations be one rounding unit off, as another library's may.

        Used for the moved copies behind a noise floor only.
        """
        return contextlib.nullcontext()

    def compiled(self, model: Any, evaluations: int) -> contextlib.AbstractContextManager[None]:
        """Make ``evaluations`` of the same network cheaper, where that costs less than it saves.

        Used for the moved copies behind a noise floor only, never for what is compared.
        """
        return contextlib.nullcontext()

    def reordered(
        self, model: Any, rng: np.random.Generator
    ) -> contextlib.AbstractContextManager[None]:
        """Evaluate ``model`` on its batch in another order, results in the order asked.

        The same program, but for the order of sums over the batch, as gradients of weights are;
        and the gradient that comes back to each score is moved by one unit in the last place. Where
        such sums cancel, inputs and weights moved alone say nothing of their rounding.
        Used for the moved copies behind a noise floor only.
        """
        return contextlib.nullcontext()

    # What every side answers.

    def describe(self) -> dict[str, Any]:
        """Which entries there are and what they can do; runs nothing of the user's."""
        entries = [name for name in ENTRIES if getattr(self.side, name) is not None]
        about: dict[str, Any] = {
            "framework": self.side.framework,
            "layout": self.side.layout,
            "entries": entries,
            "names": {n: e for n in entries if isinstance(e := getattr(self.side, n), str)},
            "takes_settings": self._takes_settings(),
            "given_settings": self._given_settings(entries),
            "gradient_clip": False,
            "return_every_step": False,
        }
        if "generate_samples" in entries:
            about["gradient_clip"] = self.sampler_entry.supports("gradient_clip")
            about["return_every_step"] = self.sampler_entry.supports("return_every_step")
        return about

    def pulled(self, case: Case, rows: tuple[int, ...] | None = None) -> Pulled:
        """What this side's outputs are multiplied by on the case."""
        return Pulled(case.key, self.side.energy_sign, self.side.layout, rows)

    @property
    def sampler_entry(self) -> BoundSampler:
        """The bound ``generate_samples``."""
        if self._sampler is None:
            if self.side.generate_samples is None:
                raise BadCall("this side declares no generate_samples")
            self._sampler = bind(self.side.generate_samples)
        return self._sampler

    @contextlib.contextmanager
    def shared(
        self, model: Any, case: Case, precision: str, notes: dict[str, Any]
    ) -> Iterator[SharedRandomness]:
        """Every draw within, the framework's, NumPy's and Python's, comes from the case's key."""
        randomness = SharedRandomness(case.key, self.side.layout)
        with (
            host_generators_seeded(case.key),
            self.intercepted(model, randomness, precision, notes),
        ):
            yield randomness

    def shared_in(self, run: Run) -> contextlib.AbstractContextManager[SharedRandomness]:
        return self.shared(run.model, run.case, run.precision, run.notes)

    @contextlib.contextmanager
    def ready(self, case: Case, precision: str, notes: dict[str, Any]) -> Iterator[Any]:
        """The case's model with its weights, in ``precision``, which is the default meanwhile."""
        with self.precision(precision):
            model = self.built(case.settings, precision)
            self.load(model, case, case.weights)
            yield model

    def built(self, settings: Mapping[str, Any] | None, precision: str) -> Any:
        """The model of these settings, built once per precision; call under :meth:`precision`."""
        key = (repr(settings), precision)
        if key not in self._models:
            if len(self._models) >= MODELS_KEPT:  # random architectures come and go
                self._models.pop(next(iter(self._models)))
            self._models[key] = self.prepared(self.build(settings), precision)
        return self._models[key]

    def build(self, settings: Mapping[str, Any] | None) -> Any:
        """A fresh model from the user's ``model()``, or ``model(settings)``."""
        if self.side.model is None:
            raise BadCall("this side declares no model")
        function = specs.entry(self.side.model)
        given = settings is not None and self._takes_settings()
        arguments = [self.settings_from(settings)] if given and settings is not None else []
        with self.entered("model"):
            return function(*arguments)

    def settings_from(self, settings: Mapping[str, Any]) -> Any:
        """The pair's own settings object."""
        assert self._settings_type is not None
        return self._settings_type.from_dict(settings)

    def settings_of(self, case: Case) -> Any:
        """What the case's settings are to this side's entries; None for their own defaults."""
        if case.settings is None or self._settings_type is None:
            return None
        return self.settings_from(case.settings)

    @abc.abstractmethod
    def forget(self, case: Case) -> None:
        """After a case that trained its models: drop what no later :meth:`load` would restore."""

    def _given_settings(self, entries: Sequence[str]) -> list[str]:
        """The entries that have an argument of that name."""
        if self._settings_type is None:
            return []
        others = [name for name in entries if name != "generate_samples"]
        return [
            name
            for name in others
            if "settings" in inspect.signature(specs.entry(getattr(self.side, name))).parameters
        ]

    def _takes_settings(self) -> bool:
        if self._settings_type is None or self.side.model is None:
            return False
        parameters = inspect.signature(specs.entry(self.side.model)).parameters
        return next(iter(parameters), None) == "settings"


def as_scores(scores: np.ndarray, batch: int, sign: int, layout: str) -> np.ndarray:
    """(B, 1) or (B,) to energies (B,); outputs of any other shape as they are, canonical."""
    if scores.shape == (batch, 1):
        scores = scores[:, 0]
    scores = layouts.images_to_canonical(scores, layout)
    return np.array(scores * sign if sign != 1 else scores, order="C")
