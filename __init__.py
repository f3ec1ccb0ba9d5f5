"""sparsespike: replay a sparse spiking transformer, spike by spike, on a simulated neuromorphic accelerator.

    from sparsespike import load_chip, load_trace, simulate

    report = simulate(load_trace("trace.safetensors"), load_chip("mesh16"))
    print(report.to_json()["energy_pj"]["total"])

The public names are loaded when they are first used, so that `import sparsespike` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .model.capture import capture
    from .simulator.bounds import bound
    from .simulator.cuts import load_cuts
    from .simulator.energy import Pricer, load_energy_table
    from .simulator.errors import UserError
    from .simulator.feedback import additions_per_weight
    from .simulator.hardware import load_chip
    from .simulator.peers import run_peers
    from .simulator.report import bound_report, simulate
    from .simulator.report_file import load_report
    from .simulator.reprice import reprice, saved_run
    from .simulator.trace import load_trace, save_trace

__all__ = [
    "Pricer",
    "UserError",
    "__version__",
    "additions_per_weight",
    "bound",
    "bound_report",
    "capture",
    "load_chip",
    "load_cuts",
    "load_energy_table",
    "load_report",
    "load_trace",
    "reprice",
    "run_peers",
    "save_trace",
    "saved_run",
    "simulate",
]

__version__ = "0.1.0"

_HOME = {
    "Pricer": "simulator.energy",
    "UserError": "simulator.errors",
    "additions_per_weight": "simulator.feedback",
    "bound": "simulator.bounds",
    "bound_report": "simulator.report",
    "capture": "model.capture",
    "load_chip": "simulator.hardware",
    "load_cuts": "simulator.cuts",
    "load_energy_table": "simulator.energy",
    "load_report": "simulator.report_file",
    "load_trace": "simulator.trace",
    "reprice": "simulator.reprice",
    "run_peers": "simulator.peers",
    "save_trace": "simulator.trace",
    "saved_run": "simulator.reprice",
    "simulate": "simulator.report",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
