"""The line to mend: which line of a port runs each layer and each sub-step.

A call is told by what it is given, whatever the port calls its variables: noise is what was drawn,
the update is what puts a gradient and images together. Of the port's lines that led to a call the
innermost counts. A sub-step that the port lacks has a line beside which it would have to be added.

Lines are kept under paths. What has none under "generate_samples/noise/scale" has that of
"generate_samples/noise", and at last that of "generate_samples", where the function begins.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from parity.correspond.weights import Match, Weight
from parity.declare import specs
from parity.declare.declarations import ENTRIES
from parity.declare.declarations import Call as Declared
from parity.frameworks.torch.capture import storage
from parity.frameworks.torch.localise import as_far_as_possible, cut_apart
from parity.frameworks.torch.parameters import layers_of, state
from parity.frameworks.torch.side import TorchRunner
from parity.frameworks.torch.watch import EVALUATION, MODE, Call, Line, Watch, is_ports
from parity.side.runner import Arrays
from parity.side.sampler_probe import Probe
from parity.side.training_probe import TrainingProbe
from parity.values.cases import Case

Lines = dict[str, Line]

CLIPS = ("clamp", "clip", "clamp_min", "clamp_max", "hardtanh", "minimum", "maximum", "where")
NORMS = ("norm", "vector_norm", "linalg_norm", "linalg_vector_norm")
SCALING = ("mul", "multiply", "div", "divide", "true_divide")
SIGNS = ("sub", "subtract", "rsub", "neg", "negative")
SUMS = ("add", "sum")
SQUARES = ("square", "pow")
JOINS = ("cat", "concat", "concatenate", "stack", "hstack", "vstack")
PARTS = ("getitem", "split", "chunk", "narrow", "tensor_split")
FLATTENING = ("permute", "transpose", "movedim", "flatten", "view", "reshape")
SHAPING = (*FLATTENING, *PARTS, "pad", "contiguous", "squeeze", "unsqueeze", "expand")
IMAGES, NOISE, GRADIENT, SCORES = ({r} for r in ("images", "noise", "gradient", "scores"))


def places(runner: TorchRunner, case: Case, given: Arrays, root: Path) -> dict[str, str]:
    """Path -> "port_torch/langevin.py:58", of the part that the case is of.

    Args:
        case: of the sampler's probe, of training's, or of the network.
        given: ``activations/<layer>`` of the reference, for the network.
        root: files in it are named relative to it.
    """
    lines = _definitions(runner)
    # A port may raise anything anywhere, and what was seen until then is worth telling.
    with contextlib.suppress(Exception), runner.precision("float64"):
        if case.sampler is not None:
            _sampler(runner, case, lines)
        elif case.training is not None:
            _training(runner, case, lines)
        else:
            _network(runner, case, given, lines)
    return {path: _shown(line, root.resolve()) for path, line in lines.items()}


def _shown(line: Line, root: Path) -> str:
    path = Path(line.file).resolve()
    name = path.relative_to(root) if path.is_relative_to(root) else path
    return f"{name.as_posix()}:{line.number}"


# Where entries are defined, and where they raise.


def _definitions(runner: TorchRunner) -> Lines:
    found = {}
    for name in ENTRIES:
        entry = getattr(runner.side, name)
        with contextlib.suppress(Exception):
            function = specs.entry(entry.function if isinstance(entry, Declared) else entry)
            if line := _definition(function):
                found[name] = line
    return found


def _definition(function: Any) -> Line | None:
    """Where the port defines a function or class, however it is wrapped."""
    while (partial := isinstance(function, functools.partial)) or hasattr(function, "__wrapped__"):
        function = function.func if partial else function.__wrapped__
    if not (inspect.isroutine(function) or inspect.isclass(function)):
        function = type(function).__call__
    file = inspect.getsourcefile(function)
    if file is None or not is_ports(file):
        return None
    return Line(file, inspect.getsourcelines(function)[1])


@contextlib.contextmanager
def _raising(path: str, lines: Lines) -> Iterator[None]:
    """Keep where the port raises under ``path``, and go on."""
    try:
        yield
    except Exception as error:
        _raised(path, error, lines)


def _raised(path: str, error: Exception, lines: Lines) -> None:
    for frame, number in traceback.walk_tb(error.__traceback__):  # the innermost comes last
        if is_ports(frame.f_code.co_filename):
            lines[path] = Line(frame.f_code.co_filename, number)


# What calls are of.


def _traced(calls: Sequence[Call], images: int) -> list[Call]:
    """The calls with the roles of what they are given.

    Args:
        images: the storage of the images that the port is given.
    """
    roles, found = {images: "images"}, []
    for call in calls:
        call = dataclasses.replace(
            call, roles=frozenset(roles[s] for s in call.given if s in roles)
        )
        found.append(call)
        if call.name == EVALUATION:
            role = "scores"
        elif call.draws:
            role = "noise"
        elif call.name in ("grad", ".grad"):
            role = "gradient"
        elif call.name.endswith("_like") or call.name.startswith("new_"):
            continue
        else:
            order = ("images", "gradient", "scores", "noise")
            role = next((r for r in order if r in call.roles), "")
        roles |= dict.fromkeys(call.results, role) if role else {}
    return found


def _first(
    calls: Sequence[Call],
    names: Collection[str] | None = None,
    roles: Collection[str] | None = None,
    test: Callable[[Call], bool] = lambda call: True,
    without: Collection[str] = (),
) -> Call | None:
    """The first call of one of these names that is given just these roles."""
    for call in calls:
        named = call.name not in without and (names is None or call.name in names)
        if named and (roles is None or call.roles == roles) and test(call):
            return call
    return None


def _number(calls: Sequence[Call], call: Call | None) -> int:
    """Where a call is; behind all others, if it is none."""
    return len(calls) if call is None else calls.index(call)


def _write(lines: Lines, entry: str, found: Mapping[str, Call | Line | None]) -> None:
    for path, place in found.items():
        line = place.lines[0] if isinstance(place, Call) else place
        if line is not None:
            lines[f"{entry}/{path}".lstrip("/")] = line


# The sampler, on the probe energy.


def _sampler(runner: TorchRunner, case: Case, lines: Lines) -> None:
    """From one step, and then from two that are all returned, where a port may raise later."""
    for steps in (1, 2):
        model = runner.probe_model(Probe.drawn(), [])
        model.train()
        images = runner.tensor(case.images.astype(np.float64))
        every = steps > 1 and runner.sampler_entry.supports("return_every_step")
        with runner.shared(model, case, "float64", {}) as randomness:
            watch = Watch(randomness=randomness)
            with _raising("generate_samples/raised", lines), watch.evaluations(model):
                runner.call_sampler(model, case, images, steps, every)
        calls = _traced(watch.calls, storage(images))
        if steps == 1:
            _write(lines, "generate_samples", _of_a_step(calls, storage(images)))
        else:
            stored = _first(calls[::-1], (*JOINS, "clone", "copy", "setitem"), IMAGES)
            _write(lines, "generate_samples", {"stored": stored})


def _of_a_step(calls: list[Call], images: int) -> dict[str, Call | Line | None]:
    evaluation = _first(calls, [EVALUATION])
    before = calls[: _number(calls, evaluation)]
    after = calls[len(before) + 1 :]
    noise = _first(calls, test=lambda c: c.draws)
    added = _first(calls, roles=IMAGES | NOISE, without=JOINS)
    gradient = _first(after, ("grad", "backward"))
    scores = after[: _number(after, gradient)]
    update = _first(after, test=lambda c: c.roles >= IMAGES | GRADIENT)
    climb = after[: _number(after, update) + 1]
    rest = after[len(climb) :]
    own = next((c.lines[0].code for c in (update, added, evaluation) if c is not None), None)

    def in_step(call: Call | None) -> Line | None:
        """The line of the function in which the step is, where a helper makes the call."""
        if call is None:
            return None
        return next((line for line in call.lines if line.code is own), call.lines[0])

    head = before[_number(before, added) + 1 :] if added in before else before
    noise_clip = _first(head, CLIPS, IMAGES)
    update_clip = _first(rest, CLIPS, IMAGES)
    ended = _first(rest[::-1], roles=IMAGES | NOISE) or update
    clip = _first(climb, (*CLIPS, *NORMS), GRADIENT)
    off = _first(before[::-1], ["set_grad_enabled"], test=lambda c: not c.tracked)
    sign = _first(climb[::-1], SIGNS)
    return {
        "noise": noise or noise_clip or in_step(evaluation),
        "noise/scale": _first(calls[::-1], SCALING, NOISE),
        "noise clip": noise_clip or (added if added in before else in_step(evaluation)),
        "gradient": gradient or evaluation,
        "gradient/point": in_step(evaluation),
        "gradient/leaf": _first(before[::-1], roles=IMAGES, test=_makes) or evaluation,
        "gradient/mode": off if evaluation and not evaluation.tracked and off else evaluation,
        "gradient/reduction": _first(scores[::-1], roles=SCORES, test=_makes),
        "gradient/accumulated": _first(climb, SUMS, GRADIENT),
        "gradient clip": clip or in_step(gradient),
        "update": update,
        "update/step": _first(climb[::-1], SCALING, GRADIENT),
        "update/sign": sign,
        "update clip": update_clip or ended,
        "mode": _first(before[::-1], [MODE]),
        "input": _first(calls, test=lambda c: c.writes and c.given[:1] == (images,)),
        "parameters": _first(calls, ("requires_grad", ".requires_grad="), set()),
        "dtype": _first(calls, test=lambda c: c.low),
    }


def _makes(call: Call) -> bool:
    """Whether it makes something of what it is given, and does not only look at it."""
    return bool(call.results) or call.name in (".requires_grad=", ".data=")


# The network, cut apart at its layers.


def _network(runner: TorchRunner, case: Case, given: Arrays, lines: Lines) -> None:
    notes: dict[str, Any] = {}
    with as_far_as_possible(runner, case, notes) as (model, matches):
        made = _made(runner, case, matches, lines)
        if line := _definition(type(model).forward):
            lines["model"] = line
        layers = layers_of(model, matches)
        watch, images, _, error = cut_apart(runner, case, model, layers, given, Watch)
    if error is not None:
        _raised("model/raised", error, lines)
    calls = _traced(watch.calls, storage(images))
    for call in calls:
        if call.made_of is not None:
            lines[f"model/{call.made_of}/parameters"] = call.lines[0]
    mixing = _first(calls, test=lambda c: c.mixes and "images" in c.roles, without=SHAPING)
    mixing = _first(calls, ["batch_norm"]) or mixing
    _write(lines, "model", {"batch": mixing, "dtype": _first(calls, test=lambda c: c.low)})
    ends = {name: n for n, call in enumerate(calls) for name in call.anchors}  # its last anchor
    last: dict[str, Line] = {}
    start, begins = "", 0
    for end, ends_at in (*sorted(ends.items(), key=lambda item: item[1]), ("energies", len(calls))):
        part = [call for call in calls[begins : ends_at + 1] if "images" in call.roles]
        between = [c for c in part if _makes(c) and not c.anchors and not c.name.startswith(".")]
        anchor = calls[ends_at] if end in ends else None
        cut = _first(part, test=lambda c: c.cuts)
        first = between[0] if between else anchor
        found = {
            f"{end}/flatten": _first(between, FLATTENING),
            f"{end}/padding": _first(between, ["pad"]),
            f"{end}/gradient": cut or first,
            end: anchor or _first(between[::-1]),
        }
        if start and between and between[0].name not in SHAPING:
            found[f"{start}/activation"] = between[0]
        _write(lines, "model", found)
        if anchor is not None:
            _arguments(end, anchor, made.get(end), f"{end}/bias" in notes["missing"], lines)
        elif start:
            lines.setdefault("model/energies", lines[f"model/{start}"])
        if ending := between or part:
            last[end] = ending[-1].lines[-1]
        start, begins = end, ends_at + 1
    following = "energies"
    for layer in reversed([Weight(name, ()).layer for name in case.weights]):
        if layer in ends:
            following = layer
        elif following in last:
            lines[f"model/{layer}"] = last[following]


def _made(runner: TorchRunner, case: Case, matches: list[Match], lines: Lines) -> dict[str, Call]:
    """The call that makes each layer's parameters; and keep which draws them."""
    watch = Watch()
    found: dict[str, Call] = {}
    with watch:
        fresh = state(runner.build(case.settings))
    for held in matches:
        key = storage(fresh[held.parameter])
        made = next((c for c in watch.calls if key in c.results), None)
        drawn = next((c for c in watch.calls[::-1] if c.writes and key in c.given), made)
        _write(lines, "initialisation", {held.weight: drawn})
        if made is not None:
            found.setdefault(Weight(held.weight, ()).layer, made)
    return found


def _arguments(layer: str, anchor: Call, made: Call | None, no_bias: bool, lines: Lines) -> None:
    """What is an argument of one of torch's own layers is given where the layer is made: a stride
    by the network's own ``__init__``, the lack of a bias nearest to torch."""
    path = f"model/{layer}"
    bias = lines.get(f"{path}/parameters", anchor.lines[0])
    if made is not None and anchor.in_layer:
        inits = [line for line in made.lines if line.code and line.code.co_name == "__init__"]
        lines[f"{path}/stride"] = (inits or made.lines[:1])[-1]
        lines.setdefault(f"{path}/padding", lines[f"{path}/stride"])
        bias = made.lines[0] if no_bias else bias
    lines[f"{path}/bias"] = bias


# Training, on its probe.


def _training(runner: TorchRunner, case: Case, lines: Lines) -> None:
    images = runner.tensor(case.images.astype(np.float64))
    model = runner.training_probe(TrainingProbe.drawn(case.images.shape[1:]), [])
    runner.load(model, case, case.weights)
    with runner.shared(model, case, "float64", {}) as randomness:

        def called(entry: str, *arguments: Any) -> list[Call]:
            watch = Watch(randomness=randomness)
            with _raising(f"{entry}/raised", lines), watch.evaluations(model):
                trainer.call(entry, *arguments)
            return _traced(watch.calls, storage(images))

        with _raising("train_step/raised", lines):
            trainer = runner.trainer(model, case)
        if calls := called("make_optimizer", model):
            lines["make_optimizer"] = calls[-1].lines[-1]
        kept = [] if trainer.buffer is None else [trainer.buffer]
        if kept:
            calls = called("replay_buffer")
            _write(lines, "replay_buffer", {"images": _first(calls[::-1], test=_makes)})
        calls = called("train_step", model, trainer.optimizer, images, *kept)
        _write(lines, "", _of_a_training_step(calls))
        if runner.side.validate is not None:
            evaluation = _first(called("validate", model, images)[::-1], [EVALUATION])
            if evaluation is not None:
                lines["validate"] = evaluation.lines[-1]


def _of_a_training_step(calls: list[Call]) -> dict[str, Call | Line | None]:
    evaluations = [n for n, call in enumerate(calls) if call.name == EVALUATION] or [len(calls)]
    before, after = calls[: evaluations[-1]], calls[evaluations[-1] + 1 :]
    sampled = before[([-1, *evaluations])[-2] + 1 :]
    backward = _first(after, ("backward", "grad"))
    scores = after[: _number(after, backward)]
    added = _first(before, roles=IMAGES | NOISE, without=JOINS)
    clip = _first(before, CLIPS, IMAGES)

    def joined(some: list[Call]) -> Call | None:
        return _first(some[::-1], JOINS, test=lambda c: "images" not in c.roles)

    return {
        "train_step/noise": added or clip or _first(before, roles=IMAGES, test=_makes),
        "train_step/clip": clip or added,
        "train_step/loss": backward,
        "train_step/loss/split": _first(scores, PARTS, SCORES),
        "train_step/loss/sign": _first(scores, SIGNS, SCORES),
        "train_step/loss/squares": _first(scores, SQUARES, SCORES),
        "train_step/loss/squares/weight": _first(scores[::-1], SCALING, SCORES),
        "replay_buffer/starts": joined(calls[: evaluations[0]]),
        "replay_buffer/kept": joined(sampled) or joined(after),
    }
