"""The PyTorch side: how to build, load, evaluate and sample there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from parity.correspond.weights import Match, Parameter, Used, Weight, match
from parity.declare import specs
from parity.declare.declarations import Pair, Side, TorchSide
from parity.frameworks.torch.arguments import watched
from parity.frameworks.torch.capture import Capture, in_order_of_use
from parity.frameworks.torch.dispatch import Interception
from parity.frameworks.torch.draws import family_of
from parity.frameworks.torch.globals import Globals
from parity.frameworks.torch.parameters import (
    canonical_weights,
    cotangent_of,
    layers_of,
    load_canonical,
    parameters,
    state,
    to_numpy,
)
from parity.frameworks.torch.state import findings
from parity.frameworks.torch.training import TorchTrainer
from parity.side.runner import Arrays, Pulled, Run, SideRunner, as_scores
from parity.side.sampler_probe import CURVATURE, Probe
from parity.side.training_probe import CURVATURE as TRAINING_CURVATURE
from parity.side.training_probe import Evaluation, TrainingProbe
from parity.values import layouts
from parity.values.cases import Case
from parity.values.randomness import SharedRandomness, host_generators_seeded

DTYPES = {"float64": torch.float64, "float32": torch.float32}


class TorchRunner(SideRunner):
    """Answers observables for a :class:`parity.TorchSide`."""

    def __init__(self, side: Side, pair: Pair | None) -> None:
        super().__init__(side, pair)
        assert isinstance(side, TorchSide)
        self.torch_side = side
        self._globals = Globals()
        self._calls = 0  # of entries that no case seeds the host's generators for
        # Keyed weakly: an id may come back with another model behind it.
        self._matches: WeakKeyDictionary[nn.Module, list[Match]] = WeakKeyDictionary()
        self._hands_views = False
        self._told: dict[tuple[tuple[Weight, ...], tuple[Parameter, ...]], list[Match]] = {}

    @contextlib.contextmanager
    def precision(self, precision: str) -> Iterator[None]:
        before = torch.get_default_dtype()
        torch.set_default_dtype(DTYPES[precision])
        try:
            yield
        finally:
            torch.set_default_dtype(before)

    def prepared(self, model: nn.Module, precision: str) -> nn.Module:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model() must return a torch.nn.Module, got {type(model).__name__}")
        return model.to(DTYPES[precision])

    @contextlib.contextmanager
    def ready(self, case: Case, precision: str, notes: dict[str, Any]) -> Iterator[nn.Module]:
        with super().ready(case, precision, notes) as model:
            self._hands_views = case.view
            try:
                yield model
            finally:
                self._hands_views = False

    def load(self, model: nn.Module, case: Case, weights: Mapping[str, np.ndarray]) -> None:
        if model not in self._matches:
            shapes = [Weight(name, array.shape) for name, array in weights.items()]
            if isinstance(model, TrainingProbeModel):  # what is declared is of the port's network
                self._matches[model] = match(shapes, parameters(model))
            else:
                self._matches[model] = self.matched(model, shapes, self.used(model, case))
        load_canonical(model, self._matches[model], weights, self.channels_first(case))

    def matched(
        self, model: nn.Module, weights: Sequence[Weight], used: Used | None = None
    ) -> list[Match]:
        """Which parameter of a model holds which weight; as it was told before, if it was."""
        own = parameters(model)
        key = (tuple(weights), tuple(own))
        if key not in self._told:
            told = match(weights, own, self.torch_side.weights, used)
            if used is None:
                return told
            self._told[key] = told
        return self._told[key]

    def used(self, model: nn.Module, case: Case) -> Used:
        """The order in which the model uses its parameters on the case, found out when asked."""

        def order() -> list[str]:
            dtype = next((t.dtype for t in state(model).values()), torch.get_default_dtype())
            images = self.tensor(case.images).to(dtype)
            with self.entered("the network", images):
                return in_order_of_use(model, state(model), images)

        return order

    def matches(self, model: nn.Module) -> list[Match]:
        """Which parameter of a loaded model holds which weight."""
        return self._matches[model]

    def channels_first(self, case: Case) -> Mapping[str, Sequence[int]]:
        """Dense kernels whose rows this side has in channels-first order, with the maps before."""
        return case.feature_maps if self.torch_side.flatten == "NCHW" else {}

    def evaluate(self, model: nn.Module, images: np.ndarray, pulled: Pulled) -> Arrays:
        model.eval()
        x = self.tensor(images).requires_grad_()
        gradients: Tensor | None = None
        with self.entered("the network", x):
            scores = model(x)
            if scores.requires_grad:
                by = cotangent_of(scores, len(images), pulled)
                (gradients,) = torch.autograd.grad(scores, x, by, allow_unused=True)
        if gradients is None:
            gradients = torch.zeros_like(x)
        side = self.side
        return {
            "energies": as_scores(to_numpy(scores), len(images), side.energy_sign, side.layout),
            "energy_gradients": layouts.images_to_canonical(to_numpy(gradients), side.layout),
        }

    def evaluated_with_activations(self, run: Run, images: np.ndarray) -> Arrays:
        """In two evaluations, so that what captures activations has no part in what is compared."""
        with self.shared_in(run):
            found = self.evaluate(run.model, images, self.pulled(run.case))
        with self.shared_in(run):
            return found | self._activations(run.model, images)

    def _activations(self, model: nn.Module, images: np.ndarray) -> Arrays:
        layers = layers_of(model, self._matches[model])
        model.eval()
        x = self.tensor(images)
        with torch.no_grad(), self.entered("the network", x), Capture(layers) as capture:
            model(x)
        return {
            f"activations/{layer}": layouts.images_to_canonical(to_numpy(output), self.side.layout)
            for layer, output in capture.outputs.items()
        }

    def sample(
        self, model: nn.Module, case: Case, images: np.ndarray, steps: int, every_step: bool
    ) -> np.ndarray:
        model.train()  # as a fresh module is; the sampler sees to the mode it needs
        assert case.sampler is not None
        result = self.call_sampler(model, case, self.tensor(images), steps, every_step)
        return self.samples_to_canonical(result, every_step)

    def canonical_images(self, images: np.ndarray) -> np.ndarray:
        return layouts.images_to_canonical(images, self.side.layout)

    def trainer(self, model: nn.Module, case: Case) -> TorchTrainer:
        return TorchTrainer(self, model, case)

    def forget(self, case: Case) -> None:
        """Frozen parameters, hooks and modes stay with a module; it is built anew soon enough."""
        for precision in DTYPES:
            self._models.pop((repr(case.settings), precision), None)

    def probe_model(self, probe: Probe, evaluations: list[dict[str, Any]]) -> nn.Module:
        c, m = (self.tensor(array[np.newaxis]) for array in (probe.c, probe.m))

        def keep(x: Tensor) -> None:
            array = values_of(x)
            evaluations.append(
                {
                    "grad_enabled": torch.is_grad_enabled(),
                    "requires_grad": x.requires_grad,
                    "leaf": x.is_leaf,
                    "images": None if array is None else self.canonical_images(array),
                }
            )

        return ProbeModel(c, m, self.side.energy_sign, keep)

    def training_probe(self, probe: TrainingProbe, evaluated: list[Evaluation]) -> nn.Module:
        def keep(x: Tensor) -> None:
            evaluated.append((self.canonical_images(to_numpy(x)), x.requires_grad))

        return TrainingProbeModel(probe, self.side, keep)

    def call_sampler(
        self, model: nn.Module, case: Case, images: Tensor, steps: int, every_step: bool
    ) -> Any:
        """The user's ``generate_samples`` on tensors of this side's layout."""
        assert case.sampler is not None
        with self.entered("generate_samples"):
            return self.sampler_entry(
                model=model,
                images=images,
                steps=steps,
                step_size=case.sampler.step_size,
                noise=case.sampler.noise,
                gradient_clip=case.sampler.gradient_clip,
                return_every_step=True if every_step else None,
            )

    def samples_to_canonical(self, result: Any, every_step: bool) -> np.ndarray:
        """A sampler's result, a tensor or a list of one per step, as (steps, B, H, W, C)."""
        if isinstance(result, (list, tuple)):
            result = torch.stack([torch.as_tensor(part) for part in result])
        array = to_numpy(torch.as_tensor(result))
        array = layouts.images_to_canonical(array, self.side.layout)
        return array if every_step else array[np.newaxis]

    @contextlib.contextmanager
    def intercepted(
        self,
        model: nn.Module,
        randomness: SharedRandomness,
        precision: str,
        notes: dict[str, Any],
    ) -> Iterator[None]:
        interception = Interception(randomness=randomness, promote=precision == "float64")
        with interception, counted(model, randomness):
            yield
        found = {"not_float64": interception.not_float64, "repeated": interception.repeated}
        shown = {
            note: {name: f"{name} ({interception.places[name]})" for name in names}
            for note, names in found.items()
        }
        if shown["not_float64"]:
            notes["not_float64"] = list(shown["not_float64"].values())
        for name, text in shown["repeated"].items():
            notes.setdefault("repeated", {})[text] = family_of(name)

    def preprocessed(self, images: np.ndarray) -> np.ndarray:
        function = specs.entry(self.side.preprocess)
        self._calls += 1
        # Those of a request cannot be written; in one of the two precisions they are a view.
        view = torch.get_default_dtype() is torch.float32
        given = every_other_level(images) if view else images.copy()
        with host_generators_seeded(self._calls), self.entered("preprocess", given):
            result = function(given)
        return layouts.images_to_canonical(to_numpy(torch.as_tensor(result)), self.side.layout)

    def as_tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array)

    def forward(self, model: nn.Module, images: Tensor) -> Any:
        with torch.no_grad():
            return model.eval()(images)

    def seed(self, seed: int) -> None:
        self._globals.seed(seed)

    @contextlib.contextmanager
    def entered(self, entry: str, *given: Any, model: Any = None) -> Iterator[None]:
        with self._globals.entered(entry), watched(entry, given, model, self._tell):
            yield

    def _tell(self, entry: str, id_: str, message: str) -> None:
        self._globals.tell(entry, id_, message, id_)

    def left_behind(self) -> list[dict[str, str]]:
        return self._globals.take()

    def build(self, settings: Mapping[str, Any] | None) -> nn.Module:
        self._calls += 1
        with host_generators_seeded(self._calls):
            model: nn.Module = super().build(settings)
        return model

    def initial_weights(
        self, settings: Mapping[str, Any] | None, seeds: list[int], shapes: Mapping[str, list[int]]
    ) -> Arrays:
        drawn = []
        with self.precision("float32"):
            for seed in seeds:
                self.seed(seed)
                model = self.build(settings)
                wanted = [Weight(name, tuple(shape)) for name, shape in shapes.items()]
                matches = self.matched(model, wanted)
                drawn.append(canonical_weights(model, matches))
        return {name: np.stack([weights[name] for weights in drawn]) for name in drawn[0]}

    def read_weights(
        self, path: str, shapes: Mapping[str, list[int]], feature_maps: Mapping[str, list[int]]
    ) -> Arrays:
        model = self.build(None)
        model.load_state_dict(torch.load(path, weights_only=True))
        wanted = [Weight(name, tuple(shape)) for name, shape in shapes.items()]
        matches = self.matched(model, wanted)
        channels_first = feature_maps if self.torch_side.flatten == "NCHW" else {}
        return canonical_weights(model, matches, channels_first)

    def write_weights(
        self, path: str, weights: Arrays, feature_maps: Mapping[str, list[int]]
    ) -> None:
        model = self.build(None)
        wanted = [Weight(name, array.shape) for name, array in weights.items()]
        matches = self.matched(model, wanted)
        channels_first = feature_maps if self.torch_side.flatten == "NCHW" else {}
        load_canonical(model, matches, weights, channels_first)
        torch.save(model.state_dict(), path)

    def state(self, case: Case, *, empty_batch: bool) -> list[dict[str, str]]:
        """What ``generate_samples`` leaves behind (``parity.frameworks.torch.state``)."""
        self._models.clear()  # an earlier call may have left frozen what this one would freeze
        with self.ready(case, "float32", {}) as model:
            try:
                return self._left_behind(model, case, empty_batch)
            finally:
                self._models.clear()  # whatever the port did to this model stays with it

    def probing_state(self, case: Case, *, empty_batch: bool) -> list[dict[str, str]]:
        with self.precision("float32"):
            model = self.probe_model(Probe.drawn(), []).to(torch.float32)
            return self._left_behind(model, case, empty_batch)

    def _left_behind(self, model: nn.Module, case: Case, empty_batch: bool) -> list[dict[str, str]]:
        def call(images: Tensor, steps: int, every_step: bool) -> Any:
            return self.call_sampler(model, case, images, steps, every_step)

        found = findings(
            case,
            self.tensor(case.images),
            model,
            call,
            self.side.layout,
            every_step=self.sampler_entry.supports("return_every_step"),
            caller_modes=self.torch_side.caller_modes,
            empty_batch=empty_batch,
        )
        return found + self.left_behind()

    def environment(self) -> dict[str, str]:
        return {
            "torch": torch.__version__,
            "torch_threads": str(torch.get_num_threads()),
            "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "torch_onednn": "on" if _onednn() else "off",
        }

    def tensor(self, images: np.ndarray) -> Tensor:
        """Images in this side's layout, with standard strides; of a case that says so, every other
        element of a tensor twice as long.

        A transposed channels-last array of one channel would keep its strides while claiming to be
        contiguous, and a port that uses ``view`` would raise through the harness's fault. It can
        use ``view`` on every other element.
        """
        tensor = self.contiguous(images)
        return every_other(tensor) if self._hands_views else tensor

    def contiguous(self, images: np.ndarray) -> Tensor:
        return torch.from_numpy(layouts.images_from_canonical(images, self.side.layout))


def every_other_level(images: np.ndarray) -> np.ndarray:
    """The same grey levels as a view with gaps between them, which hold the opposite levels."""
    return np.stack([images, np.iinfo(images.dtype).max - images], axis=-1)[..., 0]


def every_other(tensor: Tensor) -> Tensor:
    """The same values as a view with gaps between them, which are NaN: no port may read them."""
    wide = tensor.new_full((*tensor.shape, 2), torch.nan)
    wide[..., 0] = tensor
    return wide[..., 0]


def _onednn() -> bool:
    return bool(torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled)


class ProbeModel(nn.Module):
    """The probe energy; has one parameter, for samplers that look for a device or freeze them."""

    c: Tensor
    m: Tensor

    def __init__(self, c: Tensor, m: Tensor, sign: int, keep: Callable[[Tensor], None]) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones((), dtype=c.dtype))
        self.register_buffer("c", c)
        self.register_buffer("m", m)
        self.sign, self.keep = sign, keep

    def forward(self, x: Tensor) -> Tensor:
        self.keep(x)
        energy = self.c * torch.sin(x - self.m) + CURVATURE * self.c * x * x
        return self.sign * self.one * energy.flatten(1).sum(1, keepdim=True)


def values_of(x: Tensor) -> np.ndarray | None:
    """A copy of a tensor's values, also under ``torch.func.grad``; None under ``vmap``."""
    functorch = torch._C._functorch
    while functorch.is_gradtrackingtensor(x):
        x = functorch.get_unwrapped(x)
    if functorch.is_batchedtensor(x):
        return None
    with torch._C._DisableFuncTorch():
        return to_numpy(x).copy()


class TrainingProbeModel(nn.Module):
    """The training probe; its weights are in canonical order, whatever the layout."""

    def __init__(self, probe: TrainingProbe, side: Side, keep: Callable[[Tensor], None]) -> None:
        super().__init__()
        self.c = nn.Parameter(torch.zeros(probe.m.shape))
        self.m, self.side, self.keep = torch.from_numpy(probe.m), side, keep

    def forward(self, x: Tensor) -> Tensor:
        self.keep(x)
        if self.side.layout == "NCHW":
            x = x.permute(0, 2, 3, 1)
        x = x.flatten(1)
        features = torch.sin(x - self.m) + TRAINING_CURVATURE * x * x
        return self.side.energy_sign * (features * self.c).sum(1, keepdim=True)


@contextlib.contextmanager
def counted(model: nn.Module, randomness: SharedRandomness) -> Iterator[None]:
    """Count calls of ``model`` or ``model.forward`` in ``randomness.evaluations``."""
    forward = model.forward

    def counting(*args: Any, **kwargs: Any) -> Any:
        randomness.evaluations += 1
        return forward(*args, **kwargs)

    model.__dict__["forward"] = counting
    try:
        yield
    finally:
        del model.__dict__["forward"]
