"""Put any likelihood model through what every model must pass."""

from .check_model import CHECKS, CheckResult, ModelReport, check_model

__all__ = ["CHECKS", "CheckResult", "ModelReport", "check_model"]
