"""The command line: what each command accepts; what it does is in ``parity.commands``."""

from __future__ import annotations

import argparse
import importlib
import sys
import traceback
from pathlib import Path

from rich.console import Console

import parity
from parity.ask import streams
from parity.ask.workers import DEFAULT_TIMEOUT
from parity.draw.profiles import PROFILES
from parity.errors import MissingPackage, ParityError, PortFailed, ReferenceFailed

EXIT_PARITY, EXIT_NO_PARITY, EXIT_BAD_CALL, EXIT_NO_REFERENCE, EXIT_OWN_FAILURE = 0, 1, 2, 3, 4
EXIT_INTERRUPTED = 130

TRACEBACK = Path(".parity") / "traceback.txt"
"""Where that of an error of parity's own is kept."""

EPILOG = """\
exit status: 0 parity; 1 not (any verdict that is not green, or a port that raises, hangs or
dies, while it is imported too); 2 the call or the configuration is wrong; 3 the reference could
not be run, or a package is missing; 4 parity itself failed; 130 interrupted. What was finished by
then is always reported.

A SPEC is module:attribute, or path/to/file.py[:attribute] (attribute 'side' if left out).
"""


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status, whatever becomes of what is printed."""
    with streams.printing():
        options = _parser().parse_args(arguments)
        console = Console(stderr=True, highlight=False)
        if (here := str(Path.cwd())) not in sys.path:
            sys.path.insert(0, here)  # so that a pair beside the user's pyproject.toml imports
        try:
            command = importlib.import_module(f"parity.commands.{options.module}")
            status: int = command.run(options)
            return status
        except KeyboardInterrupt:
            console.print("interrupted")
            return EXIT_INTERRUPTED
        except (Exception, SystemExit) as error:
            return _fail(console, error)


def _fail(console: Console, error: BaseException) -> int:
    """Say what went wrong, and by whose fault; the exit status."""
    statuses = {PortFailed: EXIT_NO_PARITY, ReferenceFailed: EXIT_NO_REFERENCE}
    statuses |= {MissingPackage: EXIT_NO_REFERENCE, ParityError: EXIT_BAD_CALL}
    for kind, status in statuses.items():
        if isinstance(error, kind):
            for note in getattr(error, "__notes__", ()):
                console.print(note.rstrip(), markup=False, soft_wrap=True)
            console.print(f"parity: {error}", markup=False, soft_wrap=True)
            return status
    what = f"{type(error).__name__}: {error}".rstrip(": ")
    where = _kept("".join(traceback.format_exception(error)), console)
    console.print(
        f"parity: parity itself failed, with {what}; this is no verdict, and a fault to report: "
        f"its traceback is {where}",
        markup=False,
        soft_wrap=True,
    )
    return EXIT_OWN_FAILURE


def _kept(text: str, console: Console) -> str:
    """Keep a traceback in a file; printed, if there can be none."""
    try:
        TRACEBACK.parent.mkdir(exist_ok=True)
        TRACEBACK.write_text(text)
    except OSError:
        console.print(text.rstrip(), markup=False, soft_wrap=True)
        return "above"
    return f"in {TRACEBACK}"


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
    _report_parser(commands)
    _align_parser(commands)
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
    _program_options(parser)
    _run_options(parser)
    _page_options(parser)
    parser.add_argument(
        "--strict",
        action="store_true",
        help="with --golden: fail also where a margin, still green, got 16 times worse",
    )
    parser.add_argument(
        "--profile",
        metavar="|".join(PROFILES),
        help="how many cases: quick (under a minute, the default), ci, or nightly; with --golden, "
        "how many drawn ones besides the recorded",
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
        "--no-shrink",
        action="store_true",
        help="do not look for a smaller failing case, which takes up to 60 runs of one check",
    )
    parser.add_argument(
        "--in-process", action="store_true", help="run the port in this process, for a debugger"
    )
    parser.set_defaults(module="check", explains=explains, seed=None)


def _record_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "record",
        help="run the reference and keep its answers, so that a check needs no TensorFlow",
        description="Ask the reference all that a check and an explanation may ask, and write a "
        "golden: a folder that takes the reference's place in 'parity check --golden DIR'. Says "
        "what changed since the last recording, and by how much.",
        epilog="exit status: 0 written; 1 the port could not be opened; 2 the call or the "
        "configuration is wrong; 3 the\nreference could not be run, or a package is missing; 4 "
        "parity itself failed. What was there before is\nreplaced whole, or not at all.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _side_options(parser)
    parser.add_argument(
        "--golden", type=Path, metavar="DIR", required=True, help="the folder to write"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="what is drawn (default 0)"
    )
    parser.set_defaults(module="record")


def _mutants_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "mutants",
        help="put known faults into the port, and see each one caught and named",
        description="Put the pair's mutants into its port, alone and together, and see whether "
        "each is caught by a check and named by its fault. The port itself is not changed.",
        epilog="exit status: 0 every mutant is caught and named, and those that together are the "
        "reference's program\nare green; 1 not; 2 the call or the configuration is wrong; 3 the "
        "reference could not be run, or a\npackage is missing; 4 parity itself failed."
        "\n\nlong runs: parity mutants --depth 3 --sample 1000 judges every fault, every pair and "
        "1000 triples.",
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
        help="the most faults in one port: 1, in a minute or two; 2 (the default), in half an "
        "hour; 3",
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
    _html_option(parser)
    _timeout_option(parser)
    parser.set_defaults(module="mutants")


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
    parser.set_defaults(module="doctor")


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
    parser.set_defaults(module="convert")


def _report_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "report",
        help="the page, the summary or the JUnit file of a run, from its JSON report",
        description="Render a report that a run wrote with --json, as the run itself would have.",
        epilog="exit status: 0 written; 2 the file is no report, or nothing can be written; 4 "
        "parity itself failed.",
    )
    parser.add_argument("report", type=Path, metavar="REPORT.json")
    _page_options(parser)
    parser.set_defaults(module="report")


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="what is drawn (default 0)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")


def _html_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write the report as one page for a browser"
    )


def _page_options(parser: argparse.ArgumentParser) -> None:
    _html_option(parser)
    parser.add_argument(
        "--junit", type=Path, metavar="FILE", help="write the checks as JUnit XML, for a CI server"
    )
    parser.add_argument(
        "--summary",
        type=Path,
        metavar="FILE",
        help="append a summary in Markdown, such as to $GITHUB_STEP_SUMMARY",
    )


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


def _program_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="NAME=SHAPE[:DTYPE[:LOW..HIGH]]",
        help="of two programs without a pair: an input of the reference, without the batch, such "
        "as x=32,32,3 or ids=16:int32:0..999, if it does not know it or its range; repeat "
        "for several, in order",
    )


def _align_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "align",
        help="which parameter of a port holds which weight of its reference",
        description="Find which parameter of a PyTorch module holds which weight of a Keras model, "
        "by running both, and print the table. Neither program is changed or declared.",
        epilog="exit status: 0 every weight has its parameter; 1 not; 2 the call is wrong; 3 the "
        "reference could not be run.\n\nexample: parity align --reference ref.py:build --port "
        "port.py:Net",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--reference", metavar="SPEC", required=True, help="a Keras model, or what builds one"
    )
    parser.add_argument(
        "--port", metavar="SPEC", required=True, help="a torch.nn.Module, or what builds one"
    )
    _program_options(parser)
    _timeout_option(parser)
    parser.set_defaults(module="align")


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
