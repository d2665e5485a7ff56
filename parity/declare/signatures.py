"""Other people's ``generate_samples``: whose argument is which, and where the result is.

Names are matched first by declaration (:class:`parity.Call`), then by what the field calls them.
Their order says nothing: one author's fourth argument is the step, another's the noise. What is
still open is asked for in one message; nothing is guessed.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from parity.declare.declarations import Call, Entry
from parity.declare.specs import entry
from parity.errors import BadCall

REQUIRED = ("model", "images", "steps", "step_size", "noise")
OPTIONAL = ("gradient_clip", "return_every_step")

NAMES = {
    "model": ("model", "net", "network", "energy_model", "score_model", "ebm", "score_fn", "f"),
    "images": (
        "images",
        "inp_imgs",
        "inp_images",
        "input_imgs",
        "input_images",
        "imgs",
        "inputs",
        "x",
        "x0",
        "x_init",
        "init",
        "start",
        "initial",
        "samples",
        "init_samples",
        "initial_images",
        "img",
        "inp",
    ),
    "steps": (
        "steps",
        "n_steps",
        "num_steps",
        "nsteps",
        "n_iter",
        "num_iters",
        "iterations",
        "k",
        "langevin_steps",
    ),
    "step_size": ("step_size", "stepsize", "step", "lr", "eta", "langevin_step_size", "step_lr"),
    "noise": (
        "noise",
        "noise_scale",
        "noise_std",
        "noise_stddev",
        "sigma",
        "std",
        "stddev",
        "noise_level",
        "langevin_noise",
    ),
    "gradient_clip": (
        "gradient_clip",
        "grad_clip",
        "clip_grad",
        "clip_gradients",
        "gradient_clipping",
        "clip_grads",
    ),
    "return_every_step": (
        "return_every_step",
        "return_img_per_step",
        "return_imgs_per_step",
        "return_images_per_step",
        "return_steps",
        "return_all",
        "return_trajectory",
        "every_step",
        "return_all_steps",
    ),
}


@dataclasses.dataclass(frozen=True)
class BoundSampler:
    """A ``generate_samples`` that can be called by the contract's names."""

    function: Callable[..., Any]
    names: Mapping[str, str]  # the contract's name -> the function's own
    keywords: Mapping[str, Any]
    result: int | str | None

    def supports(self, name: str) -> bool:
        """Whether the optional argument ``name`` can be passed."""
        return name in self.names

    def __call__(self, **arguments: Any) -> Any:
        """Call with the contract's names; an optional one that is None is left to its default."""
        own = {self.names[k]: v for k, v in arguments.items() if v is not None and k in self.names}
        returned = self.function(**own, **self.keywords)
        if self.result is not None:
            returned = returned[self.result]
        elif isinstance(returned, tuple) and len(returned) > 0:
            returned = returned[0]
        if isinstance(returned, list) and arguments.get("return_every_step"):
            return list(returned)
        return returned


def bind(declared: Entry | Call) -> BoundSampler:
    """Match a declared ``generate_samples`` to the contract.

    Raises:
        BadCall: an argument has no value; names it and says how to declare it.
    """
    call = declared if isinstance(declared, Call) else Call(declared)
    function = entry(call.function)
    parameters = inspect.signature(function).parameters
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    open_names = [n for n, p in parameters.items() if p.kind in kinds and n not in call.keywords]
    names = dict(call.arguments)
    for ours, theirs in names.items():
        if ours not in NAMES:
            raise BadCall(f"Call(arguments=...) names {ours!r}; known: {', '.join(NAMES)}")
        if theirs not in parameters:
            raise BadCall(f"{_shown(function)} has no argument {theirs!r} (declared for {ours!r})")
    for ours, known in NAMES.items():
        if ours not in names:
            free = [n for n in open_names if n not in names.values()]
            match = next((n for n in known if n in free), None)
            match = match or next((n for n in free if n.lower() in known), None)
            if match is not None:
                names[ours] = match
    required = [n for n in open_names if parameters[n].default is inspect.Parameter.empty]
    missing = [n for n in REQUIRED if n not in names]
    unknown = [n for n in required if n not in names.values()]
    if missing or unknown:
        found = [f"{ours!r} is {theirs!r}" for ours, theirs in names.items() if ours in REQUIRED]
        free = [n for n in open_names if n not in names.values()]
        asked = ", ".join(f"{n!r}: {'...' if n in missing else names[n]!r}" for n in REQUIRED)
        raise BadCall(
            f"the arguments of {_shown(function)} cannot be matched by their names: "
            + "; ".join(
                [f"nothing found for {n!r}" for n in missing]
                + [f"no value known for its {n!r}" for n in unknown]
            )
            + (f". Known: {', '.join(found)}" if found else "")
            + f". Say which is which of {', '.join(map(repr, free))}: "
            f"generate_samples=parity.Call('module:generate_samples', arguments={{{asked}}}); and "
            "what is none of these has its value in keywords={'device': 'cpu'}"
        )
    return BoundSampler(function, names, dict(call.keywords), call.result)


def _shown(function: Callable[..., Any]) -> str:
    return f"{getattr(function, '__name__', function)}{inspect.signature(function)}"
