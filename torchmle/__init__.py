"""Fit models by maximum likelihood on PyTorch, with results as in statsmodels.

Public names load on first use, and torch with them, so that ``import torchmle`` alone is fast.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "models.linear": ("OLS", "WLS"),
    "models.binary": ("Logit", "Probit"),
    "models.count": ("Poisson", "NegativeBinomial"),
    "models.base": ("GenericLikelihoodModel",),
    "models.predictors": ("LinearPredictorModel",),
    "params.natural": ("predictor",),
    "results.results": ("Results",),
    "results.linear": ("LinearResults",),
    "results.compare": ("compare", "Comparison"),
    "data.constant": ("add_constant",),
    "special": (
        "normal_logpdf",
        "log_ndtr",
        "log_sigmoid",
        "softplus",
        "log1mexp",
        "log_diff_ndtr",
        "poisson_logpmf",
        "poisson_logpmf_log",
        "nbinom_logpmf",
        "nb2_logpmf_log",
    ),
    "errors": (
        "TorchmleError",
        "DataError",
        "FormulaError",
        "OptionError",
        "LikelihoodError",
        "DeviceError",
        "UndefinedStatisticError",
        "TorchmleWarning",
        "DataWarning",
        "CollinearityWarning",
        "ConvergenceWarning",
        "SeparationWarning",
    ),
}
_MODULES = {"datasets": "data.datasets", "testing": "testing"}
_WHERE = {name: module for module, names in _HOME.items() for name in names}

__all__ = ["__version__", *sorted(_WHERE), *sorted(_MODULES)]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value: Any = importlib.import_module(f".{_MODULES[name]}", __name__)
    elif name in _WHERE:
        value = getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
    else:
        from .errors import nearest

        raise AttributeError(f"torchmle has no attribute {name!r}.{nearest(name, __all__)}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
