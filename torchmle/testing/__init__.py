"""Put any likelihood model through what every model must pass."""

from .check_model import CHECKS, CheckResult, ModelReport, check_model
from .check_simulation import SimulationReport, check_simulation

__all__ = ["CHECKS", "CheckResult", "ModelReport", "SimulationReport", "check_model", "check_simulation"]
