"""What the parent may ask of a side, as methods whose arguments and results cross a pipe.

Cases and traces travel as the bytes they would be saved as.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parity import archive, kept, specs
from parity.cases import Case
from parity.declarations import Pair, Side
from parity.errors import BadCall, MissingPackage
from parity.lines import Marking, defined_by, files_of
from parity.opened import OPENED
from parity.probing import probing, probing_training
from parity.side_runner import SideRunner
from parity.training import training


def _may_be_source(file: str) -> bool:
    """Whether a person may have written the file, and would call it part of the program."""
    return "site-packages" not in file and "__pycache__" not in file and not file.endswith(".pyc")


INSTALL = {
    "torch": "pip install 'torch==2.13.0'",
    "tensorflow": "pip install 'tensorflow-cpu==2.21.0' (or 'tensorflow' off x86-64 Linux)",
}


class Requests:
    """One side, opened."""

    def __init__(
        self,
        runner: SideRunner,
        pair: Pair,
        marking: Marking | None = None,
        declared: Sequence[Path] = (),
    ) -> None:
        self.runner, self.pair = runner, pair
        self._marking, self._declared = marking, declared

    def describe(self) -> dict[str, Any]:
        return self.runner.describe()

    def environment(self) -> dict[str, str]:
        """Versions and settings that decide last bits; plain strings, which cross the pipe."""
        simd = np.show_config(mode="dicts")["SIMD Extensions"]
        return {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "system": f"{platform.system()} {platform.machine()}",
            "isa": (simd.get("found") or simd["baseline"])[-1],
            **{name: str(value) for name, value in self.runner.environment().items()},
        }

    def sources(self, root: str) -> list[str]:
        """The project's own files that this process has imported or opened, relative to ``root``,
        and those that its side declares."""
        folder, package = Path(root).resolve(), Path(__file__).resolve().parent
        files = {getattr(module, "__file__", None) or "/" for module in list(sys.modules.values())}
        found = set(self.runner.side.sources)
        for path in (Path(file).resolve() for file in files | OPENED if _may_be_source(file)):
            inside = path.is_relative_to(folder) and not path.is_relative_to(package)
            if inside and path.is_file():
                found.add(path.relative_to(folder).as_posix())
        return sorted(found)

    def never_ran(self) -> list[tuple[str, int, int]]:
        """File, first and last line of what never ran in this process, of this side's own files.

        Raises:
            BadCall: nobody asked for it when the side was opened.
        """
        if self._marking is None:
            raise BadCall("this side was opened without marks")
        files = files_of(self.pair, self.runner.side, self._declared, self._marking)
        others = defined_by(self.pair.reference)
        return [dataclasses.astuple(lines) for lines in self._marking.never_ran(files, others)]

    def strangers(self, root: str) -> list[str]:
        """Source files that this process has imported from elsewhere than ``root``."""
        return kept.strangers(Path(root))

    def weights(self, settings: dict[str, Any] | None) -> dict[str, Any]:
        return self.runner.weights(settings)

    def network(self, case: bytes, **options: Any) -> bytes:
        return self.runner.network(Case.from_bytes(case), **options).to_bytes()

    def samples(self, case: bytes, **options: Any) -> bytes:
        return self.runner.samples(Case.from_bytes(case), **options).to_bytes()

    def training(self, case: bytes, **options: Any) -> bytes:
        return training(self.runner, Case.from_bytes(case), **options).to_bytes()

    def probing(self, case: bytes) -> bytes:
        return probing(self.runner, Case.from_bytes(case)).to_bytes()

    def probing_training(self, case: bytes) -> bytes:
        return probing_training(self.runner, Case.from_bytes(case)).to_bytes()

    def segments(self, case: bytes, substituted: bytes) -> bytes:
        arrays, _ = archive.from_bytes(substituted, "the reference's activations")
        return self.runner.segments(Case.from_bytes(case), arrays).to_bytes()

    def backward(self, case: bytes, copies: int) -> bytes:
        return self.runner.backward(Case.from_bytes(case), copies=copies).to_bytes()

    def segment_gradients(self, case: bytes, given: bytes) -> bytes:
        arrays, _ = archive.from_bytes(given, "the reference's activations and cotangents")
        return self.runner.segment_gradients(Case.from_bytes(case), arrays).to_bytes()

    def places(self, case: bytes, given: bytes, root: str) -> dict[str, str]:
        arrays, _ = archive.from_bytes(given, "the reference's activations")
        return self.runner.places(Case.from_bytes(case), arrays, Path(root))

    def probing_state(self, case: bytes, **options: Any) -> list[dict[str, str]]:
        return self.runner.probing_state(Case.from_bytes(case), **options)

    def moments(self, settings: dict[str, Any] | None) -> list[str]:
        return self.runner.moments(settings)

    def clips(self, case: bytes) -> dict[str, Any]:
        return self.runner.clips(Case.from_bytes(case))

    def unintercepted_samples(self, case: bytes, seed: int) -> bytes:
        samples, repeated = self.runner.unintercepted_samples(Case.from_bytes(case), seed)
        return archive.to_bytes({"samples": samples}, {"repeated": repeated})

    def probing_noise(self, case: bytes, seed: int) -> list[int]:
        return self.runner.probing_noise(Case.from_bytes(case), seed)

    def refusals(
        self,
        entry: str,
        calls: list[tuple[str, Any]],
        case: bytes | None = None,
        images: bytes = b"",
        shape: list[int] | None = None,
    ) -> list[str | None]:
        if case is not None:
            return self.runner.refusals(entry, calls, Case.from_bytes(case))
        return self.runner.refusals(entry, calls, np.frombuffer(images, np.uint8).reshape(shape))

    def preprocess(self, images: bytes, shape: list[int], **options: Any) -> bytes:
        array = np.frombuffer(images, np.uint8).reshape(shape)
        return self.runner.preprocess(array, **options).to_bytes()

    def initial_weights(
        self, settings: dict[str, Any] | None, seeds: list[int], shapes: dict[str, list[int]]
    ) -> bytes:
        return archive.to_bytes(self.runner.initial_weights(settings, seeds, shapes), {})

    def read_weights(
        self, path: str, shapes: dict[str, list[int]], feature_maps: dict[str, list[int]]
    ) -> bytes:
        return archive.to_bytes(self.runner.read_weights(path, shapes, feature_maps), {})

    def write_weights(
        self, path: str, weights: bytes, names: list[str], feature_maps: dict[str, list[int]]
    ) -> None:
        arrays, _ = archive.from_bytes(weights, "the weights")
        self.runner.write_weights(path, {name: arrays[name] for name in names}, feature_maps)

    def left_behind(self) -> list[dict[str, str]]:
        return self.runner.left_behind()

    def state(self, case: bytes, **options: Any) -> list[dict[str, str]]:
        return self.runner.state(Case.from_bytes(case), **options)


def open_side(
    pair: str | None,
    role: str,
    spec: str | None,
    mark: str | None = None,
    inputs: Sequence[Mapping[str, Any]] | None = None,
) -> Any:
    """Resolve a side in this process and import its framework.

    Args:
        pair: SPEC of the pair; None where ``spec`` is a program that no pair declares.
        inputs: what was said of that program's inputs.
        role: "reference" or "port".
        spec: SPEC of a declaration that replaces the pair's own, or None.
        mark: the project's folder, if it is to be found out which of its lines never run.

    Raises:
        MissingPackage: the framework is not installed; says what to install.
        specs.Raised: the side's own program raises while it is imported.
    """
    if pair is None:
        from parity.programs.requests import open_program

        assert spec is not None
        return open_program(role, spec, inputs or ())
    marking = None if mark is None else Marking(Path(mark))
    with specs.declaration():
        declared_pair = specs.resolve(pair, "pair")
    if not isinstance(declared_pair, Pair):
        raise BadCall(f"{pair!r} is a {type(declared_pair).__name__}, not a parity.Pair")
    declared = [] if marking is None else list(marking.marked)
    side = specs.resolve(spec, "side") if spec else getattr(declared_pair, role)
    if not isinstance(side, Side):
        raise BadCall(
            f"{spec!r} is a {type(side).__name__}, not a parity.TorchSide or parity.TensorFlowSide"
        )
    if importlib.util.find_spec(side.framework) is None:
        raise missing(side.framework, f"the {role}")
    if side.framework == "torch":
        from parity.torch_side.side import TorchRunner

        return Requests(TorchRunner(side, declared_pair), declared_pair, marking, declared)
    from parity.tensorflow_side.side import TensorFlowRunner

    return Requests(TensorFlowRunner(side, declared_pair), declared_pair, marking, declared)


def missing(framework: str, who: str) -> MissingPackage:
    """The error that a framework is not installed, and what to install."""
    return MissingPackage(
        f"{who} needs {framework}, which is not installed here: {INSTALL[framework]}"
    )
