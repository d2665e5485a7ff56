"""How a person says what the reference is, what the port is, and how they correspond.

Any callable may be given as a ``"module:attribute"`` string, so that a declaration imports no
framework: the process that reads it may have neither.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from parity.errors import BadCall

Entry = Callable[..., Any] | str

LAYOUTS = ("NHWC", "NCHW")
CALLER_MODES = ("grad", "no_grad", "inference_mode")

CLAIMS = ("refusals", "empty_batch", "initialisation")
"""What is asked of a port only where its pair claims it."""


@dataclasses.dataclass(frozen=True)
class Call:
    """A callable whose signature is not the contract's.

    Attributes:
        function: the callable, or its ``"module:attribute"``.
        arguments: the contract's argument names (``images``, ``steps``, ``step_size``, ``noise``,
            ``gradient_clip``, ``return_every_step``) to this callable's own.
        keywords: further keyword arguments, passed as they are.
        result: where in a returned tuple (index) or dict (key) the result is.
    """

    function: Entry
    arguments: Mapping[str, str] = dataclasses.field(default_factory=dict)
    keywords: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    result: int | str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """What the two kinds of side have in common.

    An entry that one side alone leaves out makes its checks unchecked; one that both leave out is
    not asked for.

    Attributes:
        model: ``model()`` or ``model(settings)`` builds the network.
        generate_samples: ``generate_samples(model, images, steps, step_size, noise)``, images in
            the framework's own layout; optionally ``gradient_clip`` and ``return_every_step``.
        train_step: ``train_step(model, optimizer, real, buffer)`` -> dict of scalars.
        make_optimizer: ``make_optimizer(model)``.
        replay_buffer: ``replay_buffer()``.
        preprocess: ``preprocess(images)``, uint8 (B, H, W) to what the network takes.
        validate: ``validate(model, real)`` -> dict of scalars.
        layout: how this side lays out images.
        buffer_images: the attribute of the replay buffer that holds its images; found by itself
            if there is only one.
        sources: further files that the side is made of, relative to the project: what it does not
            import or open in Python, such as weights that the framework reads. If one of them
            changes, a golden is stale.
        energy_sign: what ``model`` returns is ``energy_sign`` times what the reference's returns.
    """

    model: Entry | None = None
    generate_samples: Entry | Call | None = None
    train_step: Entry | None = None
    make_optimizer: Entry | None = None
    replay_buffer: Entry | None = None
    preprocess: Entry | None = None
    validate: Entry | None = None
    buffer_images: str | None = None
    layout: str = "NHWC"
    energy_sign: int = 1
    sources: tuple[str, ...] = ()

    framework: ClassVar[str] = ""

    def __post_init__(self) -> None:
        _one_of("layout", self.layout, LAYOUTS)
        _one_of("energy_sign", self.energy_sign, (1, -1))
        for name in ENTRIES:
            entry = getattr(self, name)
            entry = entry.function if isinstance(entry, Call) else entry
            if isinstance(entry, str) and ":" not in entry:
                raise BadCall(f"{name} must be a callable or 'module:attribute', got {entry!r}")
            if entry is not None and not isinstance(entry, str) and not callable(entry):
                raise BadCall(f"{name} must be a callable or 'module:attribute', got {entry!r}")


ENTRIES = (
    "model",
    "generate_samples",
    "train_step",
    "make_optimizer",
    "replay_buffer",
    "preprocess",
    "validate",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorFlowSide(Side):
    """A side in TensorFlow and Keras."""

    framework: ClassVar[str] = "tensorflow"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TorchSide(Side):
    """A side in PyTorch.

    Attributes:
        flatten: the order in which the network flattens its last feature map. By default weights
            are handed over for "NHWC", the reference's; with "NCHW" the first dense kernel's rows
            are permuted to match.
        weights: this module's parameter names to the reference's, where they cannot be matched by
            order and shape.
        caller_modes: the modes in which a caller may use ``generate_samples``. That it works under
            ``torch.inference_mode`` is asked for only where it is claimed here.
    """

    layout: str = "NCHW"
    flatten: str = "NHWC"
    weights: Mapping[str, str] = dataclasses.field(default_factory=dict)
    caller_modes: tuple[str, ...] = ("grad", "no_grad")

    framework: ClassVar[str] = "torch"

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("flatten", self.flatten, LAYOUTS)
        for mode in self.caller_modes:
            _one_of("caller_modes", mode, CALLER_MODES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """A reference, a port, and the real input both are to be compared on.

    Attributes:
        reference: right by definition.
        port: claims to equal it.
        name: what reports call the pair.
        settings: a class with ``from_dict``, for ``model(settings)``; None for ``model()``.
        architectures: ``architectures()`` -> Hypothesis strategy of settings as plain dicts.
        trainings: ``trainings()`` -> Hypothesis strategy of ``(settings, n)``: settings of a
            training run, and how many real images a step takes. None for the program's own.
        fixed_trainings: ``fixed_trainings()`` -> list of ``(settings, n, steps)`` that every
            profile runs, from trained weights.
        mutants: ``"module:NAME"`` of :class:`parity.mutants.mutant.Mutant`, for ``parity mutants``.
        equivalent: ``"module:NAME"`` of groups of mutants' names that together are no fault.
        images: ``images()`` -> (N, H, W, C) float32, real images as the network takes them.
        weights: name -> path of trained weights in canonical layout, relative to the project.
        image_range: the least and greatest value an image may have.
        claims: what else the pair claims, of ``CLAIMS``; what is not claimed is not asked for.
            "refusals": the port's functions raise where the reference's raise, and nowhere else.
            "empty_batch": ``generate_samples`` of no images gives no images. "initialisation":
            fresh weights are distributed as the reference's.
    """

    reference: Side
    port: Side
    name: str = "pair"
    settings: Entry | None = None
    architectures: Entry | None = None
    trainings: Entry | None = None
    fixed_trainings: Entry | None = None
    mutants: str | None = None
    equivalent: str | None = None
    images: Entry | None = None
    weights: Mapping[str, str] = dataclasses.field(default_factory=dict)
    image_range: tuple[float, float] = (-1.0, 1.0)
    claims: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.claims, tuple):
            raise BadCall(f"claims must be a tuple of names, got {self.claims!r}")
        for claim in self.claims:
            _one_of("claims", claim, CLAIMS)
        for role in ("reference", "port"):
            if not isinstance(getattr(self, role), Side):
                raise BadCall(
                    f"{role} must be a parity.TensorFlowSide or parity.TorchSide, "
                    f"got {getattr(self, role)!r}"
                )

    @property
    def unit(self) -> float:
        """Half the range of the images, 1 for [-1, 1]: what steps and noise are measured in."""
        low, high = self.image_range
        return (high - low) / 2


def _one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise BadCall(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
