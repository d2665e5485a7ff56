"""An opened pair: both sides ready to answer, and the real input they share."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from parity.ask.kept import Kept
from parity.ask.recorded import Recorded, Recorder
from parity.ask.workers import DEFAULT_TIMEOUT, InProcess, Twins, Worker
from parity.correspond.weights import check_weights
from parity.declare import specs
from parity.declare.declarations import CLAIMS, ENTRIES, Pair
from parity.declare.refusals import REFUSING
from parity.errors import BadCall, ParityError, PortFailed, ReferenceFailed
from parity.side.lines import Lines
from parity.side.repeated import refuse_different
from parity.values import archive
from parity.values.cases import Case, check_images
from parity.values.traces import Trace

Settings = Mapping[str, Any] | None

MOST_HUNG = 2
"""Kinds of question on which a port may hang before it is asked nothing any more."""

QUESTIONS = {
    "network": "the network",
    "samples": "generate_samples",
    "training": "training steps",
}
"""What a side is asked, in words."""

MOST_TRACES = 64
"""Answers of the reference that are kept as they were read; those longest unused go first."""

ANYWHERE = ("python", "numpy", "system", "isa")
"""What is asked of every process's environment, and so of two sides twice."""


EMPTY_BATCH = ("model", "generate_samples")
"""The functions that a claim of the empty batch is about."""


class PortKnown(Protocol):
    """Answers that a port can be known to give, under keys."""

    def key(self, method: str, arguments: Mapping[str, Any]) -> str | None:
        """What the answer to a question is kept under; None for one that is to be asked."""

    def get(self, key: str | None) -> Any:
        """The answer, or None."""

    def keep(self, key: str | None, answer: Any) -> None:
        """What was answered."""


@dataclasses.dataclass(frozen=True)
class ModelFacts:
    """What the reference says of its model for given settings."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    feature_maps: dict[str, tuple[int, ...]]
    image_shape: tuple[int, int, int]
    layers: tuple[dict[str, Any], ...]


class Session:
    """Both sides of a pair; use as a context manager.

    The sides' processes are started at once and waited for in :meth:`open`, so that whoever has
    something to do until then can do it.

    Args:
        pair: SPEC of the pair.
        reference, port: SPEC that replaces one side.
        in_process: run the port in this process, for a debugger.
        timeout: seconds a side may take for one answer.
        twins: run the reference in two processes, where there is a core for each.
        remember: keep the reference's answers, for many ports against one reference.
        kept: keep them in the project's folder too, for the next process (``parity.ask.kept``).
        recorded: its answers from before, in place of a reference that runs.
        root: the project's folder, which the pair's paths are relative to.
        mark: find out which lines of the port never run, where it has a process of its own.

    Raises:
        BadCall: a SPEC names nothing, or something else than it should.
    """

    def __init__(
        self,
        pair: str,
        *,
        reference: str | None = None,
        port: str | None = None,
        in_process: bool = False,
        timeout: float = DEFAULT_TIMEOUT,
        twins: bool = False,
        remember: bool = False,
        kept: bool = False,
        recorded: Recorded | None = None,
        root: Path | None = None,
        mark: bool = False,
    ) -> None:
        self.pair_spec = pair
        self.root = Path.cwd() if root is None else root
        declared = specs.resolve(pair, "pair")
        if not isinstance(declared, Pair):
            raise BadCall(f"{pair!r} is a {type(declared).__name__}, not a parity.Pair")
        self.pair = declared
        self._port_arguments: dict[str, Any] = {"spec": port, "timeout": timeout}

        def start() -> Worker | Twins:
            worker = Worker("reference", pair, reference, timeout=timeout)
            if not twins or (os.cpu_count() or 1) == 1:
                return worker
            return Twins(worker, Worker("reference", pair, reference, timeout=timeout))

        self.reference: Worker | Twins | Recorder | Recorded | Kept
        if recorded is not None:
            self.reference = recorded
        elif kept:
            self.reference = Kept(start, pair, reference, self.root)
        else:
            self.reference = Recorder(start()) if remember else start()
        self.port: Worker | InProcess | None = None
        self._marked: Worker | None = None
        try:
            if in_process:
                self.port = InProcess("port", pair, port)
            else:
                marked = self.root if mark else None
                self.port = Worker("port", pair, port, timeout=timeout, mark=marked)
                self._marked = self.port if mark else None
        except BaseException:
            self.close()
            raise
        self.reference_about: dict[str, Any] = {}
        self.port_about: dict[str, Any] = {}
        self._overlay: Path | None = None
        self.finds_places = True
        """Whether an explanation says which lines of the port it is about."""
        self.port_answers: list[str] | None = None
        """Digests of the port's answers, in order, if someone puts a list here."""
        self.port_known: PortKnown | None = None
        """Answers that a port is known to give, if someone puts them here: it is not asked then."""
        self._method = ""
        self._key: str | None = None
        self._known: Any = None
        self._hung: dict[str, PortFailed] = {}
        self._facts: dict[str, ModelFacts] = {}
        self._trained: dict[str, dict[str, np.ndarray]] = {}
        self._images: np.ndarray | None = None
        self._traces: dict[int, tuple[bytes, Trace]] = {}
        self._moments: tuple[str, ...] | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def open(self) -> None:
        """Wait for both sides.

        Raises:
            MissingPackage, ReferenceFailed, PortFailed: a side cannot be opened.
            BadCall: one file that was to hold both sides raises.
        """
        assert self.port is not None
        try:
            try:
                self.reference_about = self.reference.receive()
            except ReferenceFailed as error:
                self._refuse_one_file(error)
                raise
            self.port_about = self.port.receive()
        except BaseException:
            self.close()
            raise

    def _refuse_one_file(self, error: ReferenceFailed) -> None:
        """A file that holds both sides is neither side's: where it raises, the call is wrong."""
        if error.raised_in is None or self.port is None:
            return
        try:
            self.port.receive()
        except PortFailed as other:
            if other.raised_in == error.raised_in:
                both = BadCall(f"both sides are in {error.raised_in}, which raises: {error}")
                for note in getattr(error, "__notes__", ()):
                    both.add_note(note)
                raise both from error
        except ParityError:
            return  # the reference is told first

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End both sides' processes."""
        self.reference.close()
        if self.port is not None:
            self.port.close()

    @contextlib.contextmanager
    def with_port(self, spec: str) -> Iterator[Session]:
        """This session with another port; both sides' processes stay warm."""
        before = self._port_arguments
        self._port_arguments = {**before, "spec": spec}
        self._hung.clear()
        try:
            self._reopen_port()
            yield self
        finally:
            self._port_arguments = before
            self._reopen_port()

    @contextlib.contextmanager
    def with_overlay(self, folder: Path) -> Iterator[Session]:
        """This session with the packages in ``folder`` in place of those of their names.

        Both sides stay warm: the port's process imports its own program anew.
        """
        if not isinstance(self.port, Worker):
            raise BadCall("a port in this process cannot be overlaid")
        self._overlay = folder
        self._hung.clear()
        try:
            self._lay_over(folder)
            yield self
        finally:
            self._overlay = None
            self._lay_over(None)

    def has(self, entry: str) -> bool:
        """Whether both sides declare ``entry``."""
        return entry in self.reference_about["entries"] and entry in self.port_about["entries"]

    def lacking(self, entry: str) -> str | None:
        """Which side lacks ``entry``, in words, or None."""
        missing = [
            side
            for side, about in (("reference", self.reference_about), ("port", self.port_about))
            if entry not in about["entries"]
        ]
        declare = "declares" if len(missing) == 1 else "declare"
        return f"the {' and the '.join(missing)} {declare} no {entry}" if missing else None

    def undeclared(self, entry: str) -> bool:
        """Whether neither side declares ``entry``, which then is not asked for."""
        either = {*self.reference_about["entries"], *self.port_about["entries"]}
        return entry not in either

    @property
    def not_declared(self) -> tuple[str, ...]:
        """The entries that neither side declares."""
        return tuple(entry for entry in ENTRIES if self.undeclared(entry))

    def claims(self, claim: str, *entries: str) -> bool:
        """Whether ``claim`` is made for all of ``entries``, or for any port if none are given.

        The pair claims what it does of its own functions. A port that was put in its place is held
        to that where it is of the very same functions: others have claimed nothing.
        """
        if claim not in self.pair.claims:
            return False
        own = self._port_arguments["spec"] is None
        names = self.port_about["names"]
        return own or all(
            isinstance(ours := getattr(self.pair.port, entry), str) and names.get(entry) == ours
            for entry in entries
        )

    @property
    def not_claimed(self) -> tuple[str, ...]:
        """What could be claimed and is not; of functions, those that a replaced port brought."""
        found = [claim for claim in CLAIMS if claim not in self.pair.claims]
        if "refusals" in self.pair.claims:
            others = [e for e in ENTRIES if self.has(e) and not self.claims("refusals", e)]
            found += [f"refusals of {entry}" for entry in others if entry in REFUSING]
        if "empty_batch" in self.pair.claims and self.has("generate_samples"):
            whole = self.claims("empty_batch", *EMPTY_BATCH)
            found += [] if whole else ["empty_batch"]
        return tuple(found)

    def both_support(self, option: str) -> bool:
        """Whether both sides' samplers take the optional argument ``option``."""
        return bool(self.reference_about[option] and self.port_about[option])

    @property
    def port_hung(self) -> bool:
        """Whether the port has not answered in time, so that asking on would take long."""
        return bool(self._hung)

    @property
    def draws_architectures(self) -> bool:
        """Whether both sides build networks from settings."""
        return self.pair.architectures is not None and bool(
            self.reference_about["takes_settings"] and self.port_about["takes_settings"]
        )

    @property
    def trains_by_settings(self) -> bool:
        """Whether the port's training takes settings wherever the reference's does."""
        theirs = set(self.reference_about["given_settings"])
        return theirs <= {*self.port_about["given_settings"], "model"}

    @property
    def draws_trainings(self) -> bool:
        """Whether training runs are drawn; otherwise it is the program's own."""
        by_settings = self.draws_architectures and self.trains_by_settings
        return self.pair.trainings is not None and by_settings

    def facts(self, settings: Settings) -> ModelFacts:
        """Weights and shapes of the reference's model, asked once."""
        key = json.dumps(settings, sort_keys=True)
        if key not in self._facts:
            about = self.reference.ask(
                "weights", settings=None if settings is None else dict(settings)
            )
            height, width, channels = about["image_shape"]
            self._facts[key] = ModelFacts(
                names=tuple(about["names"]),
                shapes=tuple(tuple(shape) for shape in about["shapes"]),
                feature_maps={name: tuple(shape) for name, shape in about["feature_maps"].items()},
                image_shape=(height, width, channels),
                layers=tuple(about["layers"]),
            )
        return self._facts[key]

    def moments(self) -> tuple[str, ...]:
        """What the reference's optimizer keeps for each weight, asked once."""
        if self._moments is None:
            self._moments = tuple(self.reference.ask("moments", settings=None))
        return self._moments

    def trained_weights(self, name: str) -> dict[str, np.ndarray]:
        """The pair's weights called ``name``, in the reference's order.

        Raises:
            BadFile: missing, cut short or altered. BadCall: they are not the reference model's;
                the names that are missing, extra or of another shape are listed.
        """
        if name not in self.pair.weights:
            known = ", ".join(self.pair.weights) or "none"
            raise BadCall(f"the pair declares no weights called {name!r}; known: {known}")
        if name not in self._trained:
            path = self.root / self.pair.weights[name]
            arrays, _ = archive.load(path)
            facts = self.facts(None)
            expected = dict(zip(facts.names, facts.shapes, strict=True))
            check_weights({n: a.shape for n, a in arrays.items()}, expected, str(path))
            self._trained[name] = {n: np.asarray(arrays[n], np.float32) for n in facts.names}
        return self._trained[name]

    def real_images(self) -> np.ndarray | None:
        """The pair's real images, (N, H, W, C) float32, or None if it declares none."""
        if self._images is None and self.pair.images is not None:
            with specs.declaration("images"):
                images = np.asarray(specs.entry(self.pair.images)())
            check_images(images, "the pair's images", within=self.pair.image_range)
            if images.shape[1:] != self.facts(None).image_shape:
                raise BadCall(
                    f"the pair's images have shape {images.shape[1:]}, the reference takes "
                    f"{self.facts(None).image_shape}"
                )
            self._images = images
        return self._images

    def ask_both(
        self,
        method: str,
        case: Case,
        *,
        reference: Mapping[str, Any] | None = None,
        port: Mapping[str, Any] | None = None,
    ) -> tuple[Trace, Trace | PortFailed]:
        """The same question to both sides at once; they work in parallel.

        A port that fails is an answer like another; a reference that fails raises, and so does one
        that was asked twice and gave other bits.
        """
        data = case.to_bytes()
        failure = self._send_port(method, data, dict(port or {}))
        self.reference.send(method, case=data, **(reference or {}))
        try:
            port_answer = failure or self._receive_port(lambda b: Trace.from_bytes(b, "the port"))
        finally:
            answer = self.reference.receive()
        return self._read_reference(answer, method), port_answer

    def _read_reference(self, answer: bytes, method: str) -> Trace:
        """What an answer of the reference says; one that is kept and given again is read once."""

        def read() -> Trace:
            trace = Trace.from_bytes(answer, "the reference")
            refuse_different(trace.notes, QUESTIONS.get(method, method))
            return trace.reduced()

        if isinstance(self.reference, Worker | Twins):
            return read()
        kept, trace = self._traces.pop(id(answer), (None, None))
        if kept is not answer or trace is None:
            trace = read()
        self._traces[id(answer)] = (answer, trace)
        if len(self._traces) > MOST_TRACES:
            self._traces.pop(next(iter(self._traces)))
        return trace

    def ask_reference(self, method: str, case: Case, **options: Any) -> Any:
        """A question to the reference alone."""
        return self.reference.ask(method, case=case.to_bytes(), **options)

    def ask_port(self, method: str, **arguments: Any) -> Any:
        """A question to the port alone; a PortFailed is returned, not raised."""
        case = arguments.pop("case", None)
        data = case.to_bytes() if isinstance(case, Case) else case
        failure = self._send_port(method, data, arguments)
        # Which line does what is no behaviour: it moves with every line above it.
        return failure or self._receive_port(lambda value: value, noted=method != "places")

    def _send_port(
        self, method: str, case: bytes | None, options: dict[str, Any]
    ) -> PortFailed | None:
        assert self.port is not None
        if case is not None:
            options["case"] = case
        if (given_up := self._given_up(method)) is not None:
            return given_up
        self._key = self._known = None
        if self.port_known is not None:
            self._key = self.port_known.key(method, options)
            self._known = self.port_known.get(self._key)
            if self._known is not None:
                return None
        try:
            self.port.send(method, **options)
        except PortFailed:
            try:
                self._restart_port()
                self.port.send(method, **options)
            except PortFailed as error:
                return error
        return None

    def _receive_port(self, read: Callable[[Any], Any], noted: bool = True) -> Any:
        assert self.port is not None
        try:
            answer = self.port.receive() if self._known is None else self._known
            if self.port_known is not None and self._known is None:
                self.port_known.keep(self._key, answer)
        except PortFailed as error:
            if error.hung:
                self._hung[self._method] = error
            answer = error
        if noted:
            self._note(str(answer) if isinstance(answer, PortFailed) else answer)
        return answer if isinstance(answer, PortFailed) else read(answer)

    def _given_up(self, method: str) -> PortFailed | None:
        """Why a port that hung is not asked this again, or, having hung twice, anything."""
        self._method = method
        hung = self._hung.get(method)
        if hung is None and len(self._hung) >= MOST_HUNG:
            hung = next(iter(self._hung.values()))
        if hung is None:
            return None
        again = PortFailed(f"{hung}; it was not asked again")
        again.hung = True
        return again

    def _note(self, answer: Any) -> None:
        if self.port_answers is not None:
            # That it raised is an answer, its words are not; of bad calls nor is what it raised.
            if isinstance(answer, str):
                answer = answer.partition(":")[0]
            elif isinstance(answer, list):
                answer = ["raised" if isinstance(a, str) else a for a in answer]
            data = answer if isinstance(answer, bytes) else repr(answer).encode()
            self.port_answers.append(hashlib.sha256(data).hexdigest())

    def _lay_over(self, folder: Path | None) -> None:
        if not (isinstance(self.port, Worker) and self.port.alive):
            self._restart_port()
            return
        self.port_about = self.port.ask("overlay", folder=None if folder is None else str(folder))

    def _reopen_port(self) -> None:
        if isinstance(self.port, Worker) and self.port.alive:
            spec = self._port_arguments["spec"]
            self.port_about = self.port.ask("open", pair=self.pair_spec, role="port", spec=spec)
        else:
            self._restart_port()

    def _restart_port(self) -> None:
        """A port that died or hung is started afresh for the next question."""
        overlay = self._overlay
        self.port = Worker("port", self.pair_spec, **self._port_arguments)
        self.port_about = self.port.receive()
        if overlay is not None:
            self.port_about = self.port.ask("overlay", folder=str(overlay))

    def never_ran(self) -> list[Lines] | None:
        """The lines of the port that never ran so far; None if that is not known, for nobody asked
        for it or the process that ran them is gone."""
        if self._marked is None or self._marked is not self.port or not self._marked.alive:
            return None
        try:
            return [Lines(*lines) for lines in self._marked.ask("never_ran")]
        except PortFailed:
            return None

    def environment(self) -> dict[str, str]:
        """Versions and settings that decide last bits, of both sides."""
        sides = {
            "reference": dict(self.reference.ask("environment")),
            "port": self.port_environment(),
        }
        return {
            f"{role}_{name}" if name in ANYWHERE else name: value
            for role, about in sides.items()
            for name, value in about.items()
        }

    def port_environment(self) -> dict[str, str]:
        """Those of the port's process; where it cannot say, why."""
        answer = self.ask_port("environment")
        return {"port": str(answer)} if isinstance(answer, PortFailed) else dict(answer)
