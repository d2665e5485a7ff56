"""Other people's ``generate_samples`` are called rightly, or asked about in one message."""

from __future__ import annotations

from typing import Any

import pytest

from parity import Call
from parity.declare.signatures import bind
from parity.errors import BadCall

ARGUMENTS = {"model": "M", "images": "I", "steps": 3, "step_size": 10.0, "noise": 0.1}


def ours(model, images, steps, step_size, noise, gradient_clip=0.03):  # type: ignore[no-untyped-def]
    return model, images, steps, step_size, noise, gradient_clip


def notes(model, inp_imgs, steps, step_size, noise, return_img_per_step=False):  # type: ignore[no-untyped-def]
    return {"result": (model, inp_imgs, steps, step_size, noise, return_img_per_step)}


def shuffled(x, *, sigma, lr, net, n_steps, device="cpu"):  # type: ignore[no-untyped-def]
    return [net, x, n_steps, lr, sigma, device]


def anonymous(a, b, c, d, e):  # type: ignore[no-untyped-def]
    return [a, b, c, d, e]


def tupled(model, images, steps, step_size, noise):  # type: ignore[no-untyped-def]
    return "samples", "gradients"


def needs_device(model, images, steps, step_size, noise, device):  # type: ignore[no-untyped-def]
    return device


def test_the_contracts_own_names() -> None:
    sampler = bind(Call(ours, result=5))
    assert sampler.supports("gradient_clip")
    assert not sampler.supports("return_every_step")
    assert sampler(**ARGUMENTS) == 0.03, "an argument not given is left to its default"
    assert sampler(**ARGUMENTS, gradient_clip=None) == 0.03
    assert sampler(**ARGUMENTS, gradient_clip=0.5) == 0.5


def test_names_that_others_use() -> None:
    sampler = bind(Call(notes, result="result"))
    assert sampler.supports("return_every_step")
    assert sampler(**ARGUMENTS, return_every_step=True) == ("M", "I", 3, 10.0, 0.1, True)
    assert bind(shuffled)(**ARGUMENTS) == ["M", "I", 3, 10.0, 0.1, "cpu"]


def in_another_order(init_batch, scorefn, T, eps, s):  # type: ignore[no-untyped-def]
    return [scorefn, init_batch, T, eps, s]


def test_five_unknown_names_are_asked_for_and_not_taken_in_order() -> None:
    with pytest.raises(BadCall) as caught:
        bind(in_another_order)
    said = str(caught.value)
    assert "Say which is which of 'init_batch', 'scorefn', 'T', 'eps', 's'" in said
    assert "arguments={'model': '...', 'images': '...', 'steps': '...'" in said
    assert "\n" not in said, "one message"


def test_what_is_known_already_is_shown_where_the_rest_is_asked_for() -> None:
    def partly(model, x, T, eps, sigma):  # type: ignore[no-untyped-def]
        return None

    with pytest.raises(BadCall, match="Known: 'model' is 'model', 'images' is 'x', 'noise' is"):
        bind(partly)


def test_any_order_is_right_once_it_is_declared() -> None:
    names = {"model": "scorefn", "images": "init_batch", "steps": "T"}
    declared = Call(in_another_order, arguments={**names, "step_size": "eps", "noise": "s"})
    assert bind(declared)(**ARGUMENTS) == ["M", "I", 3, 10.0, 0.1]


def test_declared_names_and_keywords() -> None:
    declared = Call(
        anonymous,
        arguments={"model": "e", "images": "d", "steps": "c", "step_size": "b", "noise": "a"},
    )
    assert bind(declared)(**ARGUMENTS) == [0.1, 10.0, 3, "I", "M"]
    assert bind(Call(needs_device, keywords={"device": "meta"}))(**ARGUMENTS) == "meta"


def test_of_a_tuple_the_first_is_the_result_unless_declared() -> None:
    assert bind(tupled)(**ARGUMENTS) == "samples"
    assert bind(Call(tupled, result=1))(**ARGUMENTS) == "gradients"


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        (needs_device, "no value known for its 'device'.*keywords={'device': 'cpu'}"),
        (Call(ours, arguments={"image": "images"}), "names 'image'; known: model, images, steps"),
        (Call(ours, arguments={"noise": "sigma"}), r"ours\(.*\) has no argument 'sigma'"),
    ],
)
def test_what_cannot_be_matched_is_asked_for(declared: Any, says: str) -> None:
    with pytest.raises(BadCall, match=says):
        bind(declared)


def test_everything_open_is_asked_for_at_once() -> None:
    def odd(model, pictures, steps, alpha):  # type: ignore[no-untyped-def]
        return None

    with pytest.raises(BadCall) as caught:
        bind(odd)
    for name in ("images", "step_size", "noise", "pictures", "alpha"):
        assert repr(name) in str(caught.value)
