"""Checks at their edges: nothing to compare, ports that are declared to differ, no oracle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from parity.ask.session import Session
from parity.draw.plan import draw
from parity.draw.recipes import Recipe, WeightsRecipe, make_case
from parity.entries.forward import check_batch_independence, check_network
from parity.entries.refusals import check_refusals
from parity.entries.runner import run_checks
from parity.entries.sampler import check_last, check_sampler
from parity.entries.state import check_state_restored
from parity.mutants.judge import LEAN
from parity.values.cases import SamplerCall
from parity.verdict.comparison import Verdict

HEAD = """
import dataclasses, torch, parity, ebm.pair
from ebm.settings import PUBLISHED
from port_torch.energy_model import ACTIVATIONS, EnergyModel
from port_torch.langevin import generate_samples

"""


@contextmanager
def port(session: Session, tmp_path: Path, text: str) -> Iterator[Session]:
    """The session with a port whose ``side`` is defined by ``text``."""
    path = tmp_path / "port.py"
    path.write_text(HEAD + text)
    with session.with_port(str(path)):
        yield session


def case(session: Session, batch: int = 3, steps: int = 3):  # type: ignore[no-untyped-def]
    call = SamplerCall(steps, 10.0, 0.05)
    return make_case(session, Recipe(WeightsRecipe(scale=2.0, seed=4), batch=batch, sampler=call))


def verdicts(outcomes) -> dict[str, Verdict]:  # type: ignore[no-untyped-def]
    return {outcome.check: outcome.verdict for outcome in outcomes}


def test_no_images_are_legal_and_prove_nothing(parity_session: Session) -> None:
    empty = case(parity_session, batch=0)
    found = verdicts(check_network(parity_session, empty) + check_sampler(parity_session, empty))
    del found["draw_log"]  # no numbers were drawn on either side: that can be compared
    assert set(found.values()) == {Verdict.UNCHECKED}


def test_one_image_says_nothing_about_independence(parity_session: Session) -> None:
    (outcome,) = check_batch_independence(parity_session, case(parity_session, batch=1))
    assert outcome.verdict is Verdict.UNCHECKED


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_declared_energy_sign(parity_session: Session, tmp_path: Path, sign: int) -> None:
    """A port that returns the energy E = -f is green if it says so, and red if it does not."""
    text = (
        "class Port(EnergyModel):\n"
        "    def forward(self, x):\n        return -super().forward(x)\n"
        f"side = dataclasses.replace(ebm.pair.port, model=Port, energy_sign={sign})\n"
    )
    with port(parity_session, tmp_path, text) as session:
        found = verdicts(check_network(session, case(session)))
    assert found["energies"].green == (sign == -1)
    assert found["energy_gradients"].green == (sign == -1)


@pytest.mark.parametrize("flatten", ["NCHW", "NHWC"])
def test_a_declared_flatten_order(parity_session: Session, tmp_path: Path, flatten: str) -> None:
    text = (
        "class Port(EnergyModel):\n"
        "    def forward(self, x):\n"
        "        for n in range(1, 5):\n"
        "            x = ACTIVATIONS['swish'](self.get_submodule(f'conv{n}')(x))\n"
        "        return self.score(ACTIVATIONS['swish'](self.dense1(x.flatten(1))))\n"
        f"side = dataclasses.replace(ebm.pair.port, model=Port, flatten={flatten!r})\n"
    )
    with port(parity_session, tmp_path, text) as session:
        found = verdicts(check_network(session, case(session)))
    assert found["energies"].green == (flatten == "NCHW")


def test_float32_inside_a_float64_run_is_promoted(parity_session: Session, tmp_path: Path) -> None:
    """``.float()`` is a request that the harness may promote, so the oracle holds."""
    text = (
        "class Port(EnergyModel):\n"
        "    def forward(self, x):\n        return super().forward(x.float())\n"
        "side = dataclasses.replace(ebm.pair.port, model=Port)\n"
    )
    with port(parity_session, tmp_path, text) as session:
        found = verdicts(check_network(session, case(session)))
    assert all(verdict.green for verdict in found.values())


def test_without_an_oracle_a_check_is_unchecked_and_names_the_operation(
    parity_session: Session, tmp_path: Path
) -> None:
    text = (
        "class Port(EnergyModel):\n"
        "    def forward(self, x):\n"
        "        return super().forward(x) + torch.FloatTensor([0.0]).to(x.dtype)\n"
        "side = dataclasses.replace(ebm.pair.port, model=Port)\n"
    )
    with port(parity_session, tmp_path, text) as session:
        energies, *_ = check_network(session, case(session))
    assert energies.verdict is Verdict.UNCHECKED
    problem = energies.comparisons[0].problem
    assert problem is not None
    assert "no oracle: in a float64 run the port computes in float32 at lift_fresh" in problem
    assert "port.py" in problem


def test_nan_from_the_port_is_invalid_and_named(parity_session: Session, tmp_path: Path) -> None:
    text = (
        "class Port(EnergyModel):\n"
        "    def forward(self, x):\n"
        "        y = super().forward(x)\n"
        "        return torch.cat([y[:-1], y[-1:] * float('nan')])\n"
        "side = dataclasses.replace(ebm.pair.port, model=Port)\n"
    )
    with port(parity_session, tmp_path, text) as session:
        energies, *_ = check_network(session, case(session))
    assert energies.verdict is Verdict.INVALID
    assert "energies is nan at index (2,)" in str(energies.comparisons[0].problem)


def test_a_mean_over_the_batch_is_invalid_by_shape(parity_session: Session, tmp_path: Path) -> None:
    text = (
        "class Port(EnergyModel):\n"
        "    def forward(self, x):\n        return super().forward(x).mean()\n"
        "side = dataclasses.replace(ebm.pair.port, model=Port)\n"
    )
    with port(parity_session, tmp_path, text) as session:
        energies, *_ = check_network(session, case(session))
    assert energies.verdict is Verdict.INVALID
    assert "shape () from the port, (3,) from the reference" in str(energies.comparisons[0].problem)


def test_images_that_leak_into_each_other(parity_session: Session, tmp_path: Path) -> None:
    """Batch statistics: green alone, red in a batch, and red in the check that looks for it."""
    text = (
        "class Port(EnergyModel):\n"
        "    def forward(self, x):\n"
        "        y = super().forward(x)\n        return y + 1e-6 * (y - y.mean())\n"
        "side = dataclasses.replace(ebm.pair.port, model=Port)\n"
    )
    with port(parity_session, tmp_path, text) as session:
        (outcome,) = check_batch_independence(session, case(session))
        alone = verdicts(check_network(session, case(session, batch=1)))
    assert outcome.verdict is Verdict.DIVERGENT
    assert alone["energies"].green


def test_a_port_without_return_every_step_is_compared_step_by_step(
    parity_session: Session, tmp_path: Path
) -> None:
    text = (
        "def mine(model, images, steps, step_size, noise):\n"
        "    return generate_samples(model, images, steps, step_size, noise)\n"
        "side = dataclasses.replace(ebm.pair.port, generate_samples=mine)\n"
    )
    with port(parity_session, tmp_path, text) as session:
        found = check_sampler(session, case(session))
    assert all(outcome.verdict.green for outcome in found)
    assert len(found[1].comparisons) == 3


@pytest.mark.parametrize("guard", ["isfinite().all()", "isneginf().logical_not().all()"])
def test_a_network_that_refuses_numbers_that_the_reference_takes_is_red(
    parity_session: Session, tmp_path: Path, guard: str
) -> None:
    text = (
        "class Port(EnergyModel):\n"
        "    def forward(self, x):\n"
        f"        assert x.{guard}\n"
        "        return super().forward(x)\n"
        "side = dataclasses.replace(ebm.pair.port, model=Port)\n"
    )
    assert [o.findings for o in check_refusals(parity_session, "model")] == [()]
    with port(parity_session, tmp_path, text) as session:
        (outcome,) = check_refusals(session, "model")
    assert "minus infinity: the reference returns" in str(outcome.findings)


LAST = """
def mine(model, images, steps, step_size, noise{option}):
    every = generate_samples(model, images, steps, step_size, noise, return_every_step=True)
    return {returned}
side = dataclasses.replace(ebm.pair.port, generate_samples=mine)
"""
OPTION = ", return_every_step=False"


@pytest.mark.parametrize(
    ("option", "returned", "green"),
    [
        (OPTION, "every if return_every_step else every[-1]", True),
        ("", "every[-1]", True),
        (OPTION, "every if return_every_step else 0.5 * every[-1]", False),
        (OPTION, "every if return_every_step else every[0]", False),
        (OPTION, "every", False),
    ],
)
def test_what_is_returned_without_every_step_is_compared(
    parity_session: Session, tmp_path: Path, option: str, returned: str, green: bool
) -> None:
    with port(parity_session, tmp_path, LAST.format(option=option, returned=returned)) as session:
        found = check_sampler(session, case(session))
        last = check_last(session, case(session))
    assert all(outcome.verdict.green for outcome in found)
    assert last.verdict.green == green
    assert last.check == "samples_free_running"


@pytest.mark.parametrize("returned", ["every[1:]", "torch.as_tensor(every[0]).sum()", "[]"])
def test_a_sampler_that_returns_too_little_is_invalid(
    parity_session: Session, tmp_path: Path, returned: str
) -> None:
    """Seen: parity itself failed, with IndexError, for one step has no second."""
    with port(parity_session, tmp_path, LAST.format(option=OPTION, returned=returned)) as session:
        found = check_sampler(session, case(session))
    assert {o.verdict for o in found if o.check != "draw_log"} == {Verdict.INVALID}


def test_what_goes_wrong_late_is_seen_where_nobody_asks_for_every_step(
    parity_session: Session, tmp_path: Path
) -> None:
    """Seen green: with every step returned it is right, and two steps are not late."""
    late = "every if return_every_step else every[-1] * (1 if steps < 4 else -1)"
    recipe = draw(parity_session, LEAN, 0).trajectories[0]
    with port(parity_session, tmp_path, LAST.format(option=OPTION, returned=late)) as session:
        asked = make_case(session, recipe)
        assert asked.sampler is not None
        assert asked.sampler.steps >= 4
        *found, last = check_sampler(session, asked, last=True)
        assert check_last(session, asked).verdict.green
    assert all(outcome.verdict.green for outcome in found)
    assert last.verdict is Verdict.DIVERGENT
    *_, right = check_sampler(parity_session, asked, last=True)
    assert right.verdict.green
    assert right.comparisons


def test_a_run_and_a_saved_case_ask_for_the_last_alone(
    parity_session: Session, tmp_path: Path
) -> None:
    text = LAST.format(option=OPTION, returned="every if return_every_step else 0.5 * every[-1]")
    plan = draw(parity_session, LEAN, 0)
    with port(parity_session, tmp_path, text) as session:
        (whole,) = run_checks(session, plan, only=("samples_free_running",))
        assert whole.first_bad is not None
        saved = whole.first_bad.case
        (again,) = run_checks(session, plan, only=("samples_free_running",), case=saved)
    assert (whole.verdict, again.verdict) == (Verdict.DIVERGENT, Verdict.DIVERGENT)


def test_other_argument_names_extra_keywords_and_results(
    parity_session: Session, tmp_path: Path
) -> None:
    text = (
        "def mine(inp_imgs, net, *, device, n, sigma, eta):\n"
        "    return net, generate_samples(net, inp_imgs, n, eta, sigma)\n"
        "call = parity.Call(mine, arguments={'steps': 'n'}, keywords={'device': 'cpu'}, result=1)\n"
        "side = dataclasses.replace(ebm.pair.port, generate_samples=call)\n"
    )
    with port(parity_session, tmp_path, text) as session:
        found = check_sampler(session, case(session))
    assert all(outcome.verdict.green for outcome in found)


@pytest.mark.parametrize("declared", [True, False])
def test_a_port_that_needs_grad_mode_may_say_so(
    parity_session: Session, tmp_path: Path, declared: bool
) -> None:
    modes = ", caller_modes=('grad',)" if declared else ""
    text = (
        "def mine(model, images, steps, step_size, noise):\n"
        "    for _ in range(steps):\n"
        "        images = (images + torch.randn_like(images) * noise).clamp(-1, 1)\n"
        "        images = images.detach().requires_grad_()\n"
        "        (g,) = torch.autograd.grad(model(images).sum(), images)\n"
        "        images = (images.detach() + step_size * g.clamp(-0.03, 0.03)).clamp(-1, 1)\n"
        "    return images\n"
        f"side = dataclasses.replace(ebm.pair.port, generate_samples=mine{modes})\n"
    )
    with port(parity_session, tmp_path, text) as session:
        (outcome,) = check_state_restored(session, case(session))
        samples = check_sampler(session, case(session))
    assert all(found.verdict.green for found in samples)
    assert outcome.verdict.green == declared
    assert declared or "under torch.no_grad()" in outcome.findings[0]["message"]


def test_draws_in_a_port_of_its_own_generator_escape(
    parity_session: Session, tmp_path: Path
) -> None:
    text = (
        "import numpy as np\n"
        "rng = np.random.default_rng()\n"
        "def mine(model, images, steps, step_size, noise):\n"
        "    jitter = float(rng.normal()) * 1e-9\n"
        "    return generate_samples(model, images, steps, step_size, noise) + jitter\n"
        "side = dataclasses.replace(ebm.pair.port, generate_samples=mine)\n"
    )
    with port(parity_session, tmp_path, text) as session:
        found = check_sampler(session, case(session), twice=True)
    assert found[-1].verdict is Verdict.INVALID
    assert "randomness escaped: the port, run twice on one case" in str(found[-1].failure)


def test_a_draw_without_a_shared_stream_escapes_and_is_named(
    parity_session: Session, tmp_path: Path
) -> None:
    text = (
        "def mine(model, images, steps, step_size, noise):\n"
        "    torch.multinomial(torch.ones(3), 1)\n"
        "    return generate_samples(model, images, steps, step_size, noise)\n"
        "side = dataclasses.replace(ebm.pair.port, generate_samples=mine)\n"
    )
    with port(parity_session, tmp_path, text) as session:
        *_, draw_log = check_sampler(session, case(session))
    assert draw_log.verdict is Verdict.INVALID
    assert "the port draws by multinomial" in str(draw_log.failure)
