"""Pairs with three mutants, and with one whose fault is said to be another."""

from __future__ import annotations

import dataclasses

from ebm.mutants import MUTANTS
from ebm.pair import pair as whole

FEW = MUTANTS[:3]
BAD = (dataclasses.replace(MUTANTS[0], fault="dtype"),)
alone = dataclasses.replace(whole, equivalent=None)
pair = dataclasses.replace(alone, mutants=f"{__name__}:FEW")
bad = dataclasses.replace(alone, mutants=f"{__name__}:BAD")
