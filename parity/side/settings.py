"""What a side's process is started with, and how its framework is installed."""

from __future__ import annotations

from parity.errors import MissingPackage

ENVIRONMENT = {
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}
"""Set before either framework is imported. One thread a side: the two run at the same time, and
sums in a fixed order make one seed give one report. oneDNN is off because TensorFlow 2.21 corrupts
its heap there on convolutions whose kernel is smaller than their stride."""

INSTALL = {
    "torch": "pip install 'torch==2.13.0'",
    "tensorflow": "pip install 'tensorflow-cpu==2.21.0' (or 'tensorflow' off x86-64 Linux)",
}


def missing(framework: str, who: str) -> MissingPackage:
    """The error that a framework is not installed, and what to install."""
    return MissingPackage(
        f"{who} needs {framework}, which is not installed here: {INSTALL[framework]}"
    )
