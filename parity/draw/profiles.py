"""How much each profile checks: quick for a person who waits, ci for a gate, nightly beyond."""

from __future__ import annotations

import dataclasses

from parity.errors import BadCall


@dataclasses.dataclass(frozen=True)
class Profile:
    """Numbers of cases.

    Attributes:
        architectures: how many are drawn besides the published one.
        networks: cases of energies, gradients and activations.
        batches: cases of independence of the batch.
        trajectories: drawn cases of the sampler, besides the fixed ones.
        max_steps: the most steps of a drawn trajectory.
        states: cases of what the sampler leaves behind.
        noises: noise scales whose distribution is tested.
        trainings: drawn cases of training, besides the fixed ones.
        initialisations: architectures whose fresh weights are compared.
        more: how many cases more there may be of each kind, where those named here cannot have
            every value that is enumerated.
        published_steps: steps of the fixed trajectory on trained weights; more than are published,
            so that what is wrong only in a long run is seen.
        training_steps: steps of the longest training run at least, for the same reason: a fault in
            its third step, or in every fourth of an optimizer, shows in no case of one step.
    """

    name: str
    architectures: int
    networks: int
    batches: int
    trajectories: int
    max_steps: int
    states: int
    noises: int
    trainings: int
    initialisations: int
    more: int = 3
    published_steps: int = 64
    training_steps: int = 5


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("quick", 6, 24, 5, 5, 12, 3, 2, 4, 2),
        Profile("ci", 20, 100, 20, 20, 20, 8, 4, 20, 5),
        Profile("nightly", 150, 1000, 150, 150, 20, 40, 12, 200, 30),
    )
}


def profile_named(name: str) -> Profile:
    """The profile called ``name``.

    Raises:
        BadCall: there is none; lists those there are.
    """
    if name not in PROFILES:
        raise BadCall(f"unknown profile {name!r}; known: {', '.join(PROFILES)}")
    return PROFILES[name]
