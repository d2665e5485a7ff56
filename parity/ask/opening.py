"""Opening a side in its own process: its declaration resolved, its framework imported."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parity.declare import specs
from parity.declare.declarations import Pair, Side
from parity.declare.inputs import InputSpec
from parity.errors import BadCall
from parity.side.lines import Marking
from parity.side.program import PortRequests, ReferenceRequests
from parity.side.settings import missing

DECLARED = "is a declaration of a side"
"""What is said of a SPEC that names no program."""


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
        from parity.frameworks.torch.requests import TorchRequests
        from parity.frameworks.torch.side import TorchRunner

        return TorchRequests(TorchRunner(side, declared_pair), declared_pair, marking, declared)
    from parity.frameworks.tensorflow.requests import TensorFlowRequests
    from parity.frameworks.tensorflow.side import TensorFlowRunner

    return TensorFlowRequests(
        TensorFlowRunner(side, declared_pair), declared_pair, marking, declared
    )


def open_program(role: str, spec: str, inputs: Sequence[Mapping[str, Any]]) -> Any:
    """The program that a SPEC names, ready to answer.

    Raises:
        MissingPackage: its framework is not installed. BadCall: it is no program.
    """
    framework = "tensorflow" if role == "reference" else "torch"
    if importlib.util.find_spec(framework) is None:
        raise missing(framework, f"the {role}")
    given = [InputSpec.from_plain(dict(plain)) for plain in inputs]
    if role == "reference" and spec.endswith(".keras"):
        from parity.frameworks.tensorflow.program import from_file

        found: Any = from_file(spec)
    else:
        found = specs.resolve(spec, "model")
    if isinstance(found, Side):
        raise BadCall(f"{spec!r} {DECLARED}, and no program: name the PAIR that it belongs to")
    if role == "reference":
        from parity.frameworks.tensorflow.program import KerasProgram

        return ReferenceRequests(KerasProgram(found, given))
    from parity.frameworks.torch.program import TorchProgram

    return PortRequests(TorchProgram(found))
