"""A small training that goes on from a checkpoint, in a process of its own that can be killed."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.ebm.test_train import small_run

if __name__ == "__main__":
    run = small_run(sys.argv[1], epochs=int(sys.argv[2]))
    run.resume(Path(sys.argv[3]))
    print("ready", flush=True)
    run.train(Path(sys.argv[3]))
