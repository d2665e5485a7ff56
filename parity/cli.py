"""The command line: one function for each command, and what it accepts."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

import parity
from parity import archive
from parity.cases import Case
from parity.config import apply_waivers, load_config
from parity.errors import BadCall, MissingPackage, ParityError, PortFailed, ReferenceFailed
from parity.profiles import PROFILES, profile_named
from parity.workers import DEFAULT_TIMEOUT

if TYPE_CHECKING:
    from parity.goldens import Golden
    from parity.outcome import CheckResult
    from parity.profiles import Profile
    from parity.recorded import Recorded
    from parity.runner import Tell
    from parity.session import Session

EXIT_PARITY, EXIT_NO_PARITY, EXIT_BAD_CALL, EXIT_NO_REFERENCE = 0, 1, 2, 3

EPILOG = """\
exit status: 0 parity; 1 not (any verdict that is not green, or a port that raises, hangs or
dies); 2 the call or the configuration is wrong; 3 the reference could not be run, or a package
is missing.

A SPEC is module:attribute, or path/to/file.py[:attribute] (attribute 'side' if left out).
"""


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    console = Console(stderr=True, highlight=False)
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # so that a pair beside the user's pyproject.toml imports
    try:
        status: int = options.run(options)
        return status
    except PortFailed as error:
        return _fail(console, error, EXIT_NO_PARITY)
    except (ReferenceFailed, MissingPackage) as error:
        return _fail(console, error, EXIT_NO_REFERENCE)
    except ParityError as error:
        return _fail(console, error, EXIT_BAD_CALL)
    except KeyboardInterrupt:
        console.print("interrupted")
        return 130


def _fail(console: Console, error: ParityError, status: int) -> int:
    for note in getattr(error, "__notes__", ()):
        console.print(note.rstrip(), markup=False, soft_wrap=True)
    console.print(f"parity: {error}", markup=False, soft_wrap=True)
    return status


def _check(options: argparse.Namespace) -> int:
    from parity.plan import draw
    from parity.recorded import Recorded
    from parity.render.terminal import print_report, progress
    from parity.report import Report
    from parity.runner import run_checks
    from parity.session import Session

    start = time.perf_counter()
    config = load_config(Path.cwd())
    pair = _pair(options.pair, config.pair)
    seed = options.seed or 0
    profile = profile_named(options.profile or "quick")
    if seed < 0:
        raise BadCall(f"--seed must be at least 0, got {seed}")
    if options.timeout <= 0:
        raise BadCall(f"--timeout must be above 0 seconds, got {options.timeout:g}")
    if options.json is not None:
        _writable(options.json, "--json")
    case = None if options.case is None else Case.load(options.case)
    only = tuple(name for names in options.only for name in names.split(",") if name)
    golden = None if options.golden is None else _golden(options, config.root, pair)
    recorded = None if golden is None else Recorded(golden.answers, f"the golden {golden.folder}")
    progress_console = Console(stderr=True)
    with (
        Session(
            pair,
            reference=options.reference,
            port=options.port,
            in_process=options.in_process,
            timeout=options.timeout,
            twins=True,
            recorded=recorded,
            root=config.root,
        ) as session,
        progress(progress_console) as tell,
    ):
        opened = time.perf_counter()
        plan = draw(session, profile, seed) if golden is None else golden.plan
        checks = run_checks(session, plan, only=only, case=case, tell=tell)
        checked = time.perf_counter()
        failing = {} if case is not None else _kept(session, checks, golden, profile, seed, tell)
        explanation = None
        if options.explains:
            from parity.explain.explain import explain

            tell("looking for causes", 0, 1)
            explanation = explain(session, checks, plan)
            tell("looking for causes", 1, 1)
        environment = session.environment()
    accepted, problems = apply_waivers(checks, config.accept, datetime.date.today())
    if golden is not None and recorded is not None and not only and case is None:
        problems += _unused(golden, recorded, checks)
    seconds = {check.name: check.seconds for check in checks}
    report = Report(
        pair=pair,
        profile=profile.name if golden is None else "golden",
        seed=seed if golden is None else golden.seed,
        checks=tuple(accepted),
        environment={"parity": parity.__version__, "python": sys.version.split()[0], **environment},
        seconds={
            "start": opened - start,
            **seconds,
            "explain": time.perf_counter() - checked,
            "total": time.perf_counter() - start,
        },
        explanation=explanation,
        failing=failing,
        port=options.port,
        reference=options.reference,
        golden=None if golden is None else str(options.golden),
        narrowed=only,
        problems=tuple(problems),
    )
    if options.json is not None:
        report.write_json(options.json)
    print_report(report, Console(highlight=False))
    return EXIT_PARITY if report.green else EXIT_NO_PARITY


def _golden(options: argparse.Namespace, root: Path, pair: str) -> Golden:
    """The golden named on the command line; it takes the place of what else chooses cases."""
    from parity import goldens

    for option in ("reference", "profile", "seed"):
        if getattr(options, option) is not None:
            raise BadCall(
                f"--golden and --{option} exclude each other: a golden is a recorded reference "
                "with the cases that it answered"
            )
    return goldens.load(options.golden, root, pair)


def _unused(golden: Golden, recorded: Recorded, checks: Sequence[CheckResult]) -> list[str]:
    """Files of a golden that no check asked for, though all checks are green."""
    if not all(check.verdict.green for check in checks):
        return []
    needless = [n for n in golden.unused(recorded.asked) if not n.startswith("explanation")]
    return [
        f"{golden.folder / name} was not used by any check: the port declares less than when the "
        "golden was recorded, or record it again"
        for name in needless
    ]


def _kept(
    session: Session,
    checks: Sequence[CheckResult],
    golden: Golden | None,
    profile: Profile,
    seed: int,
    tell: Tell,
) -> dict[str, tuple[Case, Path]]:
    """The smallest failing case of the first check that has one, kept in a file."""
    from parity.shrinking import keep, smallest, smallest_recorded

    for check in checks:
        if check.verdict.green:
            continue
        if golden is None:
            small = smallest(session, check, profile, seed, tell)
        else:
            small = smallest_recorded(check)
        if small is not None:
            return {check.name: (small, keep(small, check.name, session.root))}
    return {}


def _record(options: argparse.Namespace) -> int:
    from parity import goldens
    from parity.errors import GoldenRefused
    from parity.recording import RecordingSession, record
    from parity.render.terminal import progress

    start = time.perf_counter()
    config = load_config(Path.cwd())
    pair = _pair(options.pair, config.pair)
    goldens.refuse_other_content(options.golden)
    before = None
    if options.golden.exists():
        try:
            before = goldens.read(options.golden)
        except GoldenRefused as error:
            print(f"replacing what cannot be read: {error}")
    with (
        RecordingSession(
            pair,
            reference=options.reference,
            port=options.port,
            timeout=options.timeout,
            twins=True,
            remember=True,
            root=config.root,
        ) as session,
        progress(Console(stderr=True)) as tell,
    ):
        record(session, options.golden, options.seed, tell)
    after = goldens.read(options.golden)
    for line in [] if before is None else goldens.changes(before, after):
        print(line)
    size = sum(path.stat().st_size for path in options.golden.iterdir())
    same = before is not None and before.answers == after.answers
    print(
        f"{options.golden}: {len(after.files)} files, {size / 1e6:.2f} MB"
        f"{', the same answers as before' if same else ''}, {time.perf_counter() - start:.0f} s"
    )
    return EXIT_PARITY


def _mutants(options: argparse.Namespace) -> int:
    from parity.mutants import campaign
    from parity.mutants.judge import LEAN
    from parity.render import matrix
    from parity.render.terminal import progress
    from parity.report import Report

    start = time.perf_counter()
    config = load_config(Path.cwd())
    pair = _pair(options.pair, config.pair)
    for name, least in (("sample", 1), ("jobs", 1), ("seed", 0)):
        if getattr(options, name) < least:
            raise BadCall(f"--{name} must be at least {least}, got {getattr(options, name)}")
    for option in ("json", "matrix"):
        if getattr(options, option) is not None:
            _writable(getattr(options, option), f"--{option}")
    with progress(Console(stderr=True)) as tell:
        found = campaign.run(
            pair,
            config.root,
            depth=options.depth,
            sample=options.sample,
            jobs=options.jobs,
            seed=options.seed,
            timeout=options.timeout,
            tell=tell,
        )
    seconds = time.perf_counter() - start
    matrix.print_campaign(found, Console(highlight=False), seconds)
    if options.matrix is not None:
        archive.write_whole(options.matrix, matrix.to_markdown(found, pair).encode())
    if options.json is not None:
        Report(
            pair=pair,
            profile=LEAN.name,
            seed=options.seed,
            checks=found.checks,
            environment={
                "parity": parity.__version__,
                "python": sys.version.split()[0],
                **found.environment,
            },
            seconds={"total": seconds},
            problems=tuple(matrix.problems(found)),
            mutants=tuple(judged.to_dict() for judged in found.judged),
        ).write_json(options.json)
    return EXIT_PARITY if found.good else EXIT_NO_PARITY


def _doctor(options: argparse.Namespace) -> int:
    from parity.doctor import examine

    config = load_config(Path.cwd())
    pair = _pair(options.pair, config.pair)
    if options.cases < 1:
        raise BadCall(f"--cases must be at least 1, got {options.cases}")
    if options.json is not None:
        _writable(options.json, "--json")
    return examine(options, pair, config.root)


def _convert(options: argparse.Namespace) -> int:
    from parity.convert import convert, kind_of
    from parity.session import Session

    config = load_config(Path.cwd())
    pair = _pair(options.pair, config.pair)
    kind_of(options.source), kind_of(options.target)
    _writable(options.target, "TARGET")
    with Session(
        pair,
        reference=options.reference,
        port=options.port,
        timeout=options.timeout,
        root=config.root,
    ) as session:
        convert(session, options.source, options.target)
    print(f"wrote {options.target}")
    return EXIT_PARITY


def _pair(given: str | None, configured: str | None) -> str:
    pair = given or configured
    if pair is None:
        raise BadCall(
            "no pair given: name one as 'module:attribute', or put it into pyproject.toml as "
            "[tool.parity] pair = 'module:attribute'"
        )
    return pair


def _writable(path: Path, option: str) -> None:
    """Fail before the run, not after it."""
    folder = path.parent
    if path.is_dir():
        raise BadCall(f"{option} {path} is a folder; expected a file to write")
    if not folder.is_dir():
        raise BadCall(f"{option} {path}: the folder {folder} does not exist")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise BadCall(f"{option} {path} cannot be written")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="parity",
        description="Is this PyTorch port the same program as its TensorFlow reference?",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"parity {parity.__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    _check_parser(commands, explains=False)
    _check_parser(commands, explains=True)
    _record_parser(commands)
    _mutants_parser(commands)
    _doctor_parser(commands)
    _convert_parser(commands)
    return parser


def _check_parser(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], *, explains: bool
) -> None:
    texts = (
        "explain" if explains else "check",
        "check, then name the cause of every divergence and what would mend it"
        if explains
        else "run every property of the pair over generated cases",
        "Run every property of the pair; where one is not green, find the layer, sub-step or term "
        "that is wrong, the rule that reproduces it, and the line to mend."
        if explains
        else "Run every property of the pair over generated cases and print a verdict each.",
    )
    parser = commands.add_parser(
        texts[0],
        help=texts[1],
        description=texts[2],
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _side_options(parser)
    _run_options(parser)
    parser.add_argument(
        "--profile",
        metavar="|".join(PROFILES),
        help="how many cases: quick (under a minute, the default), ci, or nightly",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="CHECKS",
        help="run these checks alone, by name, separated by commas; the verdict says so",
    )
    parser.add_argument(
        "--golden",
        type=Path,
        metavar="DIR",
        help="check against a recorded reference, without TensorFlow ('parity record' makes one)",
    )
    parser.add_argument("--case", type=Path, metavar="FILE", help="check one saved case")
    parser.add_argument(
        "--in-process", action="store_true", help="run the port in this process, for a debugger"
    )
    parser.set_defaults(run=_check, explains=explains, seed=None)


def _record_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "record",
        help="run the reference and keep its answers, so that a check needs no TensorFlow",
        description="Ask the reference all that a check and an explanation may ask, and write a "
        "golden: a folder that takes the reference's place in 'parity check --golden DIR'. Says "
        "what changed since the last recording, and by how much.",
        epilog="exit status: 0 written; 2 the call or the configuration is wrong; 3 the reference "
        "could not be run, or a\npackage is missing. What was there before is replaced whole, or "
        "not at all.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _side_options(parser)
    parser.add_argument(
        "--golden", type=Path, metavar="DIR", required=True, help="the folder to write"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="what is drawn (default 0)"
    )
    parser.set_defaults(run=_record)


def _mutants_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "mutants",
        help="put known faults into the port, and see each one caught and named",
        description="Put the pair's mutants into its port, alone and together, and see whether "
        "each is caught by a check and named by its fault. The port itself is not changed.",
        epilog="exit status: 0 every mutant is caught and named, and those that together are the "
        "reference's program\nare green; 1 not; 2 the call or the configuration is wrong; 3 the "
        "reference could not be run, or a\npackage is missing.\n\nlong runs: parity mutants "
        "--depth 3 --sample 1000 judges every fault, every pair and 1000 triples.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "pair",
        nargs="?",
        metavar="PAIR",
        help="module:attribute (default: [tool.parity] pair in pyproject.toml)",
    )
    parser.add_argument(
        "--depth",
        type=int,
        choices=(1, 2, 3),
        default=2,
        help="the most faults in one port: 1, in a minute; 2 (the default), in ten; 3",
    )
    parser.add_argument(
        "--sample",
        type=int,
        default=300,
        metavar="N",
        help="how many triples are drawn at depth 3 (default 300)",
    )
    parser.add_argument(
        "--jobs", type=int, default=2, metavar="N", help="ports judged at a time (default 2)"
    )
    parser.add_argument(
        "--matrix", type=Path, metavar="FILE", help="write the kill matrix as Markdown"
    )
    _run_options(parser)
    _timeout_option(parser)
    parser.set_defaults(run=_mutants)


def _doctor_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "doctor",
        help="what is installed, how the sides will run, and whether the oracle holds here",
        description="Say what is installed and how the sides run, prove that the float64 oracle "
        "and the shared randomness hold here, and measure residuals over random correct cases.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _side_options(parser)
    _run_options(parser)
    parser.add_argument(
        "--cases", type=int, default=20, metavar="N", help="random cases to measure (default 20)"
    )
    parser.add_argument(
        "--faults",
        type=int,
        default=20,
        metavar="N",
        help="single-element faults of 100 bounds to plant and catch (default 20)",
    )
    parser.set_defaults(run=_doctor)


def _convert_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "convert",
        help="weights between Keras, PyTorch and canonical safetensors files",
        description="Convert a weights file: .weights.h5 or .keras of the reference, .pt of the "
        "port (a state_dict), or .safetensors in canonical layout; from any to any.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", type=Path, metavar="SOURCE")
    parser.add_argument("target", type=Path, metavar="TARGET")
    _side_options(parser)
    parser.set_defaults(run=_convert)


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="what is drawn (default 0)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")


def _side_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "pair",
        nargs="?",
        metavar="PAIR",
        help="module:attribute (default: [tool.parity] pair in pyproject.toml)",
    )
    parser.add_argument("--port", metavar="SPEC", help="replace the pair's port")
    parser.add_argument("--reference", metavar="SPEC", help="replace the pair's reference")
    _timeout_option(parser)


def _timeout_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        type=float,
        default=DEFAULT_TIMEOUT,
        metavar="SECONDS",
        help=f"longest a side may take for one answer (default {DEFAULT_TIMEOUT:g})",
    )


if __name__ == "__main__":
    sys.exit(main())
