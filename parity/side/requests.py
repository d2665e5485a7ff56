"""What the parent may ask of a side, as methods whose arguments and results cross a pipe.

Cases and traces travel as the bytes they would be saved as. What only a port or only a reference is
asked, its framework adds (``requests`` of ``parity.frameworks.torch`` and ``.tensorflow``).
"""

from __future__ import annotations

import dataclasses
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parity.declare.declarations import Pair
from parity.errors import BadCall
from parity.side.lines import Marking, defined_by, files_of
from parity.side.network import network
from parity.side.opened import OPENED
from parity.side.preprocessing import preprocess
from parity.side.probing import probing, probing_training
from parity.side.refusing import refused
from parity.side.runner import SideRunner
from parity.side.samples import probing_noise, samples, unintercepted_samples
from parity.side.sources import strangers
from parity.side.training import training
from parity.values import archive
from parity.values.cases import Case
from parity.values.frames import PACKAGE


def _may_be_source(file: str) -> bool:
    """Whether a person may have written the file, and would call it part of the program."""
    return "site-packages" not in file and "__pycache__" not in file and not file.endswith(".pyc")


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
        folder, package = Path(root).resolve(), PACKAGE.resolve()
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
        return strangers(Path(root))

    def network(self, case: bytes, **options: Any) -> bytes:
        return network(self.runner, Case.from_bytes(case), **options).to_bytes()

    def samples(self, case: bytes, **options: Any) -> bytes:
        return samples(self.runner, Case.from_bytes(case), **options).to_bytes()

    def training(self, case: bytes, **options: Any) -> bytes:
        return training(self.runner, Case.from_bytes(case), **options).to_bytes()

    def probing(self, case: bytes) -> bytes:
        return probing(self.runner, Case.from_bytes(case)).to_bytes()

    def probing_training(self, case: bytes) -> bytes:
        return probing_training(self.runner, Case.from_bytes(case)).to_bytes()

    def unintercepted_samples(self, case: bytes, seed: int) -> bytes:
        drawn, repeated = unintercepted_samples(self.runner, Case.from_bytes(case), seed)
        return archive.to_bytes({"samples": drawn}, {"repeated": repeated})

    def probing_noise(self, case: bytes, seed: int) -> list[int]:
        return probing_noise(self.runner, Case.from_bytes(case), seed)

    def refusals(
        self,
        entry: str,
        calls: list[tuple[str, Any]],
        case: bytes | None = None,
        images: bytes = b"",
        shape: list[int] | None = None,
    ) -> list[str | None]:
        if case is not None:
            return refused(self.runner, entry, calls, Case.from_bytes(case))
        return refused(self.runner, entry, calls, np.frombuffer(images, np.uint8).reshape(shape))

    def preprocess(self, images: bytes, shape: list[int], **options: Any) -> bytes:
        array = np.frombuffer(images, np.uint8).reshape(shape)
        return preprocess(self.runner, array, **options).to_bytes()

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
