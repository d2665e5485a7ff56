"""What was done to the program, what it promises, and what is seen: writes docs/robustness.md.

``make attack`` does each of these things to a copy of the project, runs the command that a person
would run, and compares the exit status with the promise. The tests of the parts are in
``tests/harness``; each line of the page names its own.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

from parity.ask.progress import progress
from tests.harness import small_pair, test_power
from tests.harness.ports import ROOT

GOLDEN = ("check", "--golden", "goldens", "--no-shrink")
SEEDED = "torch.randn(images.shape, dtype=images.dtype, generator=torch.Generator().manual_seed(0))"
INSIDE = "with torch.inference_mode(False), torch.no_grad(), evaluating(model):\n"

Prepare = Callable[[Path], Sequence[str]]
"""Changes a copy of the project; returns the arguments of the command."""


@dataclasses.dataclass(frozen=True)
class Attack:
    """One thing done to the program.

    Attributes:
        what: in words, for the page.
        promise: what is promised, in words.
        status: the exit status that is promised.
        says: a pattern that has to be found in what is printed; ^ and $ are those of its lines.
        prepare: does it.
        test: the test that holds it besides.
        shell: what follows the command, such as ``2>&-``.
    """

    what: str
    promise: str
    status: int
    says: str
    prepare: Prepare
    test: str
    shell: str = ""


def edit(file: str, *changes: tuple[str, str], command: Sequence[str] = GOLDEN) -> Prepare:
    """Change a few words of the port."""

    def prepare(root: Path) -> Sequence[str]:
        path = root / "port_torch" / file
        text = path.read_text()
        for before, after in changes:
            assert text.count(before) == 1, f"{before!r} is {text.count(before)} times in {file}"
            text = text.replace(before, after)
        path.write_text(text)
        return command

    return prepare


def run(*command: str) -> Prepare:
    """Change nothing."""
    return lambda root: command


def own(command: Sequence[str] = ("--no-shrink",), **how: object) -> Prepare:
    """Check a small pair of its own."""

    def prepare(root: Path) -> Sequence[str]:
        return ("check", small_pair.write_pair(root, **how), *command)  # type: ignore[arg-type]

    return prepare


def strange(what: str, before: str = "pass") -> Prepare:
    """Check a port against a reference with a softmax that does something strange besides.

    Args:
        before: what the port does in front of the softmax.
    """

    def prepare(root: Path) -> Sequence[str]:
        pair = test_power.write(root, what)
        path = root / "port.py"
        path.write_text(test_power.PORT.format(before=before))
        return ("check", pair, "--port", str(path), "--no-shrink")

    return prepare


def file(name: str, text: str, *command: str) -> Prepare:
    """Write a file and give it to the command."""

    def prepare(root: Path) -> Sequence[str]:
        (root / name).write_text(text)
        return command

    return prepare


VIEW = 'scores: Tensor = self.get_submodule("score")(x)  # (B, 1)'
CLIPPED = "images = images.clamp(-1.0, 1.0)\n            if return_every_step"

ATTACKS = (
    Attack(
        "the slope of leaky ReLU is 0.01, and softplus ends at 0.5: no case of old had either",
        "every value that a strategy enumerates is in a case",
        1,
        r"^energies +divergent",
        edit(
            "energy_model.py",
            ("LEAKY_SLOPE = torch.tensor(0.2, dtype=torch.float32).item()", "LEAKY_SLOPE = 0.01"),
            ("SOFTPLUS_THRESHOLD = 34.0", "SOFTPLUS_THRESHOLD = 0.5"),
        ),
        "test_exercised.py",
    ),
    Attack(
        "`torch.manual_seed(0)` at the start of `generate_samples`",
        "two calls differ where the reference's do; generators are compared",
        1,
        r"^noise_distribution +divergent(.|\n)*two calls of generate_samples",
        edit("langevin.py", (INSIDE, f"torch.manual_seed(0)\n    {INSIDE}")),
        "test_global_state.py",
    ),
    Attack(
        "a fresh generator with a seed of its own in each call",
        "two calls differ where the reference's do",
        1,
        r"^noise_distribution +divergent",
        edit("langevin.py", ("torch.randn_like(images)", SEEDED)),
        "test_global_state.py",
    ),
    Attack(
        "deterministic algorithms are switched on and left on",
        "flags of the process are compared around every entry",
        1,
        r"^state_restored +divergent(.|\n)*are_deterministic_algorithms_enabled",
        edit("langevin.py", (INSIDE, f"torch.use_deterministic_algorithms(True)\n    {INSIDE}")),
        "tests/torch_side/test_globals.py",
    ),
    Attack(
        "a reference that is NaN on the moved copies alone",
        "a floor that is no number is no bound: unchecked",
        1,
        r"unchecked(.|\n)*its float64 floor is nan",
        strange(test_power.NAN_COPIES),
        "test_power.py",
    ),
    Attack(
        "a reference with noise from a generator of its own",
        "the reference is asked twice",
        3,
        "the reference is not deterministic",
        strange(test_power.NOISY),
        "test_power.py",
    ),
    Attack(
        "gradients halved in front of a softmax",
        "gradients are those of outputs times random cotangents",
        1,
        r"^energy_gradients +divergent",
        strange(test_power.RIGHT, "x = 0.5 * x + 0.5 * x.detach()"),
        "test_power.py, test_cotangents.py",
    ),
    Attack(
        "the same with nothing halved",
        "a right port is green",
        0,
        r"^PARITY: ",
        strange(test_power.RIGHT),
        "test_power.py",
    ),
    Attack(
        "wrong on tensors that are not contiguous",
        "each plan hands over views",
        1,
        r"^energies +divergent",
        edit(
            "energy_model.py",
            ("x = images\n", "x = images * (1 + (not images.is_contiguous()) / 1e6)\n"),
        ),
        "test_exercised.py",
    ),
    Attack(
        "wrong from the 61st step on",
        "each plan has a trajectory that is longer",
        1,
        r"^samples_free_running +divergent(.|\n)*first at samples\[6[0-3]\]",
        edit(
            "langevin.py",
            ("for _ in range(steps):", "for n in range(steps):"),
            (
                CLIPPED,
                CLIPPED.replace(
                    "\n", "\n            images = images * 0.999 if n > 59 else images\n", 1
                ),
            ),
        ),
        "test_exercised.py",
    ),
    Attack(
        "wrong at the optimizer's fourth step",
        "each plan has a training run of five",
        1,
        r"^training_state +divergent",
        edit(
            "keras_adam.py",
            ('state["step"] += 1', 'state["step"] += 1 + (state["step"] == 3)'),
        ),
        "test_exercised.py",
    ),
    Attack(
        "`steps < 1` is refused no longer",
        "a port that claims it refuses what the reference refuses",
        1,
        r"^state_restored +divergent",
        edit("langevin.py", ("if steps < 1:", "if steps < -9:")),
        "tests/torch_side/test_refusals.py",
    ),
    Attack(
        "standard error is closed",
        "streams decide no verdict",
        0,
        r"^PARITY: ",
        run(*GOLDEN),
        "test_streams.py",
        "2>&-",
    ),
    Attack(
        "a right sampler without clips",
        "a clip is asked to bind only if the reference has it",
        0,
        r"^PARITY: ",
        own(reference=small_pair.SAMPLERS["reference"], port=small_pair.SAMPLERS["port"]),
        "test_claims.py",
    ),
    Attack(
        "a right sampler of images from 0 to 255",
        "limits are those of the reference",
        0,
        r"^PARITY: ",
        own(
            **small_pair.SAMPLERS,
            low=0.0,
            high=255.0,
            clip="images = tf.clip_by_value(images, LOW, HIGH)",
            ported_clip="x.clamp(LOW, HIGH)",
        ),
        "test_claims.py",
    ),
    Attack(
        "a network that does `x.reshape(len(x), -1)`, which torch refuses for no images",
        "no images are given where nobody claims it",
        0,
        r"^PARITY: ",
        own(
            **small_pair.SAMPLERS,
            more="port.model.__defaults__ = (lambda x: x.reshape(len(x), -1),)",
        ),
        "test_claims.py",
    ),
    Attack(
        "a pair of two models and nothing else",
        "what neither side declares is one line and no verdict",
        0,
        "not declared: generate_samples",
        own(),
        "test_claims.py",
    ),
    Attack(
        "a port that raises when it is imported",
        "that is the port's: exit status 1, with a report",
        1,
        r"^[a-z_]+ +invalid",
        file("raises.py", "raise RuntimeError('no')\n", *GOLDEN, "--port", "raises.py"),
        "test_exit_statuses.py",
    ),
    Attack(
        "a reference that raises when it is imported",
        "that is the reference's: exit status 3",
        3,
        r"the reference failed: 'raises.py' does not import: RuntimeError: no",
        file("raises.py", "raise RuntimeError('no')\n", "check", "--reference", "raises.py"),
        "test_exit_statuses.py",
    ),
    Attack(
        "`--only` with a name that is no check's",
        "refused before a process starts",
        2,
        "unknown checks",
        run("check", "--only", "nonsense"),
        "test_exit_statuses.py",
    ),
    Attack(
        "parity itself fails",
        "exit status 4 and one line, never 1",
        4,
        "parity itself failed",
        file(
            "sitecustomize.py",
            "import json\n\ndef no(*a, **k): raise IndexError('no')\n"
            "import atexit, sys\n"
            "class Finder:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            "        if name == 'parity.entries.runner': raise IndexError('no')\n"
            "sys.meta_path.insert(0, Finder())\n",
            *GOLDEN,
        ),
        "test_exit_statuses.py",
    ),
)


def attempt(attack: Attack, root: Path) -> tuple[int, str]:
    """Exit status and output of the attack in a copy of the project at ``root``."""
    arguments = [sys.executable, "-m", "parity", *attack.prepare(root)]
    words = " ".join(f"'{argument}'" for argument in arguments)
    done = subprocess.run(
        ["bash", "-c", f"{words} {attack.shell}"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def page(rows: Sequence[tuple[Attack, int, bool]]) -> str:
    """The table, as Markdown."""
    lines = [
        "# What was done to it, what it promises, what was seen",
        "",
        "Each of these was once a wrong answer: green though wrong, red though right, or an exit",
        "status that said something else. Written by `make attack`, which does each to a copy of",
        "the project and fails if one is not as promised; what made it possible, and where else",
        "that was looked for, is in [decisions](decisions).",
        "",
        "| what was done | what is promised | exit status | seen | held by |",
        "|---|---|--:|---|---|",
    ]
    for attack, status, said in rows:
        seen = "as promised" if status == attack.status and said else f"**{status}**"
        lines.append(
            f"| {attack.what} | {attack.promise} | {attack.status} | {seen} | `{attack.test}` |"
        )
    return "\n".join([*lines, ""])


def main() -> int:
    """Do all of it; the exit status says whether all is as promised."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument(
        "--only", metavar="WORDS", default="", help="those with these words in them"
    )
    parser.add_argument(
        "--page", type=Path, default=ROOT / "docs" / "robustness.md", metavar="FILE"
    )
    options = parser.parse_args()
    chosen = [attack for attack in ATTACKS if options.only in attack.what]
    rows = []
    console = Console(stderr=True)
    with progress(console) as tell:
        for number, attack in enumerate(chosen):
            with tempfile.TemporaryDirectory(prefix="parity-attack-") as folder:
                root = Path(folder) / "project"
                kept = shutil.ignore_patterns(
                    ".git", ".venv", ".parity", "build", "__pycache__", ".*_cache"
                )
                shutil.copytree(ROOT, root, ignore=kept)
                status, output = attempt(attack, root)
            said = re.search(attack.says, output, re.MULTILINE) is not None
            rows.append((attack, status, said))
            if status != attack.status or not said:
                print(
                    f"{attack.what}: exit status {status}, {attack.status} is promised, "
                    f"{'' if said else 'without '}{attack.says!r}\n{output[-1500:]}"
                )
            tell("attacks", number + 1, len(chosen))
    if not options.only:
        options.page.write_text(page(rows))
    wrong = [attack.what for attack, status, said in rows if status != attack.status or not said]
    print(f"{len(rows) - len(wrong)} of {len(rows)} as promised")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
