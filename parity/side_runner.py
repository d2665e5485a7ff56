"""What a worker does with a side, whichever the framework.

The framework's own part (``parity.torch_side``, ``parity.tensorflow_side``) says how to build a
network, load weights, evaluate and sample; this class asks those questions in both precisions, on
moved copies for the noise floor, and puts the answers into one trace.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parity import layouts, refusals, specs
from parity.cases import Case
from parity.cotangents import cotangent
from parity.declarations import ENTRIES, Pair, Side
from parity.errors import BadCall
from parity.explain.sampler.probe import Probe
from parity.explain.training import Evaluation, TrainingProbe
from parity.floor import floors_of, moved_copies
from parity.randomness import SharedRandomness, host_generators_seeded
from parity.repeated import MOVED, note_difference
from parity.signatures import BoundSampler, bind
from parity.traces import PRECISIONS, Trace, chosen
from parity.training import Trainer

Arrays = dict[str, np.ndarray]

FEW_STEPS = 8
"""Steps of a trajectory up to which a sampler that returns only the last is run for each."""

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
    """What outputs are multiplied by before gradients are taken (``parity.cotangents``).

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
    def weights(self, settings: Mapping[str, Any] | None) -> dict[str, Any]:
        """The reference's weights: ``names``, ``shapes``, ``feature_maps``, and ``image_shape``."""

    def clips(self, case: Case) -> dict[str, Any]:
        """What each clip of the sampler changed; only a reference is asked."""
        raise BadCall(f"a {self.side.framework} side is not asked for its clips")

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

    def cotangents(self, model: Any, images: np.ndarray, pulled: Pulled) -> Arrays:
        """The gradient of the energies, times their cotangent, for the images and for each layer's
        values before its activation, ``cotangents/images`` and ``cotangents/<layer>``; only a
        reference is asked."""
        raise BadCall(f"a {self.side.framework} side is not asked for cotangents")

    def segments(self, case: Case, substituted: Arrays) -> Trace:
        """What each layer of a port makes of the reference's values; only a port is asked."""
        raise BadCall(f"a {self.side.framework} side is not localised in")

    def segment_gradients(self, case: Case, given: Arrays) -> Trace:
        """The gradients of each segment of a port; only a port is asked."""
        raise BadCall(f"a {self.side.framework} side is not localised in")

    def places(self, case: Case, given: Arrays, root: Path) -> dict[str, str]:
        """Which line of a port's source runs what; only a port is asked."""
        raise BadCall(f"a {self.side.framework} side is not asked for its lines")

    @abc.abstractmethod
    def moments(self, settings: Mapping[str, Any] | None) -> list[str]:
        """What the reference's optimizer keeps for each weight, such as "momentum"."""

    def entered(
        self, entry: str, *given: Any, model: Any = None
    ) -> contextlib.AbstractContextManager[None]:
        """Around one call of the user's code, whatever that is asked for.

        Args:
            given: images that it is handed, which are to be left as they are.
            model: one that it is handed and is to leave as it was.
        """
        return contextlib.nullcontext()

    def left_behind(self) -> list[dict[str, str]]:
        """What calls so far have changed in the whole process; only a port is asked."""
        raise BadCall(f"a {self.side.framework} side is not asked what it leaves behind")

    def state(self, case: Case, *, empty_batch: bool) -> list[dict[str, str]]:
        """What ``generate_samples`` leaves behind; only a port is asked.

        Args:
            empty_batch: whether it must take no images, too.
        """
        raise BadCall(f"a {self.side.framework} side keeps no state to restore")

    def probing_state(self, case: Case, *, empty_batch: bool) -> list[dict[str, str]]:
        """What ``generate_samples`` leaves behind on the probe energy; only a port is asked."""
        raise BadCall(f"a {self.side.framework} side keeps no state to restore")

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

    def network(
        self,
        case: Case,
        *,
        copies: int = 0,
        activations: bool = True,
        subsets: Sequence[Sequence[int]] = (),
        twice: bool = False,
        precisions: Sequence[str] = PRECISIONS,
    ) -> Trace:
        """Energies, gradients and activations of the case's images, in both precisions.

        Args:
            copies: moved copies for the noise floor; 0 leaves it out.
            twice: answer the case and its last moved copy once more after all of them: notes
                ``differs``, in words, if other bits come out.
            subsets: indices of images to evaluate once more as batches of their own; answered as
                ``energies@0``, ``energy_gradients@0`` and so on.
        """
        arrays: dict[str, Arrays] = {}
        floors: dict[str, Arrays] = {}
        notes: dict[str, Any] = {}
        for precision in precisions:
            with self.ready(case, precision, notes) as model:
                images = case.images.astype(precision)
                run = Run(model, case, precision, notes)
                own = self._evaluated(run, images, activations)
                if copies:
                    moved_answers = []
                    with self.rough(model):
                        for copy in moved_copies(case, precision, copies):
                            self.load(model, case, copy.weights)
                            moved_answers.append(self._evaluated(run, copy.images, activations))
                        if twice:
                            again = self._evaluated(run, copy.images, activations)
                            note_difference(notes, moved_answers[-1], again, MOVED)
                    floors[precision] = floors_of(own, moved_answers, precision)
                    self.load(model, case, case.weights)
                if twice:
                    note_difference(notes, own, self._evaluated(run, images, activations))
                for number, subset in enumerate(subsets):
                    part = self._evaluated(run, images[list(subset)], False, tuple(subset))
                    own |= {f"{name}@{number}": array for name, array in part.items()}
                arrays[precision] = own
        return Trace(arrays, floors, notes=notes)

    def backward(self, case: Case, *, copies: int) -> Trace:
        """``cotangents`` of the case's images in float64, with their floors."""
        notes: dict[str, Any] = {}
        with self.ready(case, "float64", notes) as model:
            pulled = self.pulled(case)
            own = self.cotangents(model, case.images.astype("float64"), pulled)
            moved_answers = []
            with self.rough(model):
                for copy in moved_copies(case, "float64", copies):
                    self.load(model, case, copy.weights)
                    moved_answers.append(self.cotangents(model, copy.images, pulled))
            self.load(model, case, case.weights)
        return Trace({"float64": own}, {"float64": floors_of(own, moved_answers, "float64")})

    def samples(
        self,
        case: Case,
        *,
        copies: int = 0,
        twice: bool = False,
        precisions: Sequence[str] = PRECISIONS,
        every_step: bool = True,
    ) -> Trace:
        """The trajectory of the case's images under shared noise, in both precisions.

        ``twice`` is as of :meth:`network`. Without ``every_step`` the sampler is called as most
        callers do, for the last samples alone.

        A sampler that cannot return every step is run once for each number of steps, or if they
        are many for 1, 2, 4, ...: notes ``ran``.
        """
        if case.sampler is None:
            raise BadCall("the case calls no sampler: it has no 'sampler' arguments")
        arrays: dict[str, Arrays] = {}
        floors: dict[str, Arrays] = {}
        notes: dict[str, Any] = {}
        draws: tuple[Any, ...] = ()
        for precision in precisions:
            with contextlib.ExitStack() as stack:
                model = stack.enter_context(self.ready(case, precision, notes))
                images = case.images.astype(precision)
                run = Run(model, case, precision, notes)
                samples, randomness = self._trajectory(run, images, every_step)
                arrays[precision] = {"samples": samples}
                draws = tuple(randomness.log)  # of float32, the last
                if copies:
                    moved_answers = []
                    stack.enter_context(self.rough(model))
                    stack.enter_context(self.compiled(model, case.sampler.steps * copies))
                    for copy in moved_copies(case, precision, copies):
                        self.load(model, case, copy.weights)
                        moved, _ = self._trajectory(run, copy.images, every_step)
                        moved_answers.append({"samples": moved})
                    if twice:
                        again, _ = self._trajectory(run, copy.images, every_step)
                        note_difference(notes, moved_answers[-1], {"samples": again}, MOVED)
                    floors[precision] = floors_of(
                        arrays[precision], moved_answers, precision, by_step=("samples",)
                    )
                    self.load(model, case, case.weights)
            if twice:  # as at first: eager, with exact derivatives
                with self.ready(case, precision, notes) as model:
                    run = Run(model, case, precision, notes)
                    again, _ = self._trajectory(run, case.images.astype(precision), every_step)
                note_difference(notes, arrays[precision], {"samples": again})
        return Trace(arrays, floors, draws, notes)

    def pulled(self, case: Case, rows: tuple[int, ...] | None = None) -> Pulled:
        """What this side's outputs are multiplied by on the case."""
        return Pulled(case.key, self.side.energy_sign, self.side.layout, rows)

    def _evaluated(
        self,
        run: Run,
        images: np.ndarray,
        activations: bool,
        rows: tuple[int, ...] | None = None,
    ) -> Arrays:
        if activations:
            return self.evaluated_with_activations(run, images)
        with self.shared_in(run):
            return self.evaluate(run.model, images, self.pulled(run.case, rows))

    def _trajectory(
        self, run: Run, images: np.ndarray, every_step: bool
    ) -> tuple[np.ndarray, SharedRandomness]:
        assert run.case.sampler is not None
        steps = run.case.sampler.steps
        if not every_step or self.sampler_entry.supports("return_every_step"):
            with self.shared_in(run) as randomness:
                return self.sample(run.model, run.case, images, steps, every_step), randomness
        # Each number of steps is a run of its own: of a long trajectory a few are made.
        ran = chosen(steps) if steps > FEW_STEPS else list(range(steps))
        parts: list[np.ndarray] = []
        for step in ran:
            with self.shared_in(run) as randomness:
                last = self.sample(run.model, run.case, images, step + 1, False)
            parts += [last] * (step + 1 - len(parts))  # what was not run is not looked at
        run.notes["ran"] = ran
        return np.concatenate(parts), randomness

    def unintercepted_samples(self, case: Case, seed: int) -> tuple[np.ndarray, list[int]]:
        """(steps, B, H, W, C) float32, with the framework's own noise.

        A sampler that cannot return every step is run step by step.

        Returns:
            The samples, and the steps in which a second call, for which nothing is seeded, added
            the same.
        """
        assert case.sampler is not None
        with self.precision("float32"):
            model = self.built(case.settings, "float32")
            self.load(model, case, case.weights)
            return self._drawn_twice(model, case, case.images, seed)

    def probing_noise(self, case: Case, seed: int) -> list[int]:
        """As :meth:`unintercepted_samples` of the probe, for a port whose network cannot be run:
        the steps in which a second call added the same."""
        with self.precision("float64"):
            model = self.probe_model(Probe.drawn(), [])
            return self._drawn_twice(model, case, case.images.astype("float64"), seed)[1]

    def _drawn_twice(
        self, model: Any, case: Case, images: np.ndarray, seed: int
    ) -> tuple[np.ndarray, list[int]]:
        self.seed(seed)
        with host_generators_seeded(seed):
            samples, again = (self._own_samples(model, case, images) for _ in range(2))
        return samples, added_alike(images, samples, again)

    def _own_samples(self, model: Any, case: Case, images: np.ndarray) -> np.ndarray:
        assert case.sampler is not None
        if self.sampler_entry.supports("return_every_step"):
            return self.sample(model, case, images, case.sampler.steps, True)
        states = [images]
        for _ in range(case.sampler.steps):
            states.append(self.sample(model, case, states[-1], 1, False)[0])
        return np.stack(states[1:])

    def preprocess(self, images: np.ndarray, *, twice: bool = False) -> Trace:
        """``preprocess(images)`` in both precisions, as ``preprocessed``; ``twice`` as of
        :meth:`network`."""
        arrays: dict[str, Arrays] = {}
        notes: dict[str, Any] = {}
        for precision in PRECISIONS:
            with self.precision(precision):
                arrays[precision] = {"preprocessed": self.preprocessed(images)}
                if twice:
                    again = {"preprocessed": self.preprocessed(images)}
                    note_difference(notes, arrays[precision], again)
        return Trace(arrays, notes=notes)

    def refusals(
        self, entry: str, calls: Sequence[tuple[str, Any]], given: Case | np.ndarray
    ) -> list[str | None]:
        """What each call (``parity.refusals``) raises; None where it returns.

        Args:
            given: what a plain call is made with: uint8 images for ``preprocess``, else a case.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.precision("float64"))
            if isinstance(given, np.ndarray):
                call = functools.partial(self._preprocess_call, given)
            elif entry == "model":
                call = functools.partial(self._model_call, given)
            else:
                training = entry != "generate_samples"
                model = self._probe_of(given, training)
                stack.enter_context(self.shared(model, given, "float64", {}))
                make = self._training_call if training else self._sampler_call
                call = functools.partial(make, model, given, entry)
            answers = []
            for asked in calls:
                with self.entered("the network" if entry == "model" else entry):
                    answers.append(refusals.asked(functools.partial(call, *asked)))
            return answers

    def _probe_of(self, case: Case, training: bool) -> Any:
        if not training:
            return self.probe_model(Probe.drawn(), [])
        model = self.training_probe(TrainingProbe.drawn(case.images.shape[1:]), [])
        self.load(model, case, case.weights)
        return model

    def _preprocess_call(self, images: np.ndarray, argument: str, edit: str) -> None:
        edited = refusals.edited(images, edit) if argument else images
        given = edited.copy()  # those of a request cannot be written
        with self.entered("preprocess", given):
            specs.entry(self.side.preprocess)(given)

    def _model_call(self, case: Case, argument: str, value: Any) -> None:
        if argument == "settings":
            self.build(value)
        else:
            self.forward(self.built(None, "float64"), self._edited(case, value))

    def _sampler_call(self, model: Any, case: Case, entry: str, argument: str, value: Any) -> None:
        assert case.sampler is not None
        call = {**dataclasses.asdict(case.sampler), "steps": 2}
        if argument == "images":
            call["images"] = self._edited(case, value)
        else:
            call |= {"images": self._edited(case, None)} | ({argument: value} if argument else {})
        self.sampler_entry(model=model, **call)

    def _training_call(self, model: Any, case: Case, entry: str, argument: str, value: Any) -> None:
        """Of a fresh trainer, for what is refused may have left a trace in the last one."""
        trainer, real = self.trainer(model, case), self._edited(case, value)
        if entry == "validate":
            trainer.call("validate", model, real)
            return
        buffer = () if trainer.buffer is None else (trainer.buffer,)
        trainer.call("train_step", model, trainer.optimizer, real, *buffer)

    def _edited(self, case: Case, edit: str | None) -> Any:
        """The case's images in this side's layout and, if one is named, edited."""
        images = layouts.images_from_canonical(case.images.astype("float64"), self.side.layout)
        if edit is not None:
            channels = 1 if self.side.layout == "NCHW" else -1
            images = refusals.edited(images, edit, channels)
        return self.as_tensor(images)

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


def added_alike(images: np.ndarray, one: np.ndarray, other: np.ndarray) -> list[int]:
    """The steps in which two trajectories from the same images had the same added to them.

    What was added is known as well as its sum is: each was rounded once, and so was the state that
    it was added to.
    """
    if one.shape != other.shape:
        return []
    found = []
    before, before_other = images, images
    for step, (after, after_other) in enumerate(zip(one, other, strict=True)):
        states = [s.astype(np.float64) for s in (before, after, before_other, after_other)]
        apart = np.abs((states[1] - states[0]) - (states[3] - states[2]))
        largest = max(np.abs(state).max(initial=0.0) for state in states)
        if (apart <= 2 * np.finfo(np.float32).eps * largest).all():
            found.append(step)
        before, before_other = after, after_other
    return found
