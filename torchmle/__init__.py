"""Fit models by maximum likelihood on PyTorch, with results as in statsmodels.

Public names load on first use, and torch with them, so that ``import torchmle`` alone is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what __getattr__ loads, for type checkers
    from . import testing as testing
    from .data import datasets as datasets
    from .data.choice_data import ChoiceData as ChoiceData
    from .data.constant import add_constant as add_constant
    from .errors import CollinearityWarning as CollinearityWarning
    from .errors import ConvergenceWarning as ConvergenceWarning
    from .errors import DataError as DataError
    from .errors import DataWarning as DataWarning
    from .errors import DeviceError as DeviceError
    from .errors import FormulaError as FormulaError
    from .errors import LikelihoodError as LikelihoodError
    from .errors import MissingPackageError as MissingPackageError
    from .errors import NoDataError as NoDataError
    from .errors import OptionError as OptionError
    from .errors import SeparationWarning as SeparationWarning
    from .errors import SimulationWarning as SimulationWarning
    from .errors import StoreError as StoreError
    from .errors import TorchmleError as TorchmleError
    from .errors import TorchmleWarning as TorchmleWarning
    from .errors import UndefinedStatisticError as UndefinedStatisticError
    from .inference.multiple import adjust_pvalues as adjust_pvalues
    from .loglik.draws import Draws as Draws
    from .loglik.modules import parameter_names as parameter_names
    from .loglik.modules import to_vector as to_vector
    from .loglik.modules import with_vector as with_vector
    from .models.base import GenericLikelihoodModel as GenericLikelihoodModel
    from .models.binary import Logit as Logit
    from .models.binary import Probit as Probit
    from .models.choice.conditional import ConditionalLogit as ConditionalLogit
    from .models.choice.crossnested import CrossNestedLogit as CrossNestedLogit
    from .models.choice.latent import LatentClassLogit as LatentClassLogit
    from .models.choice.latent_results import LatentClassResults as LatentClassResults
    from .models.choice.mixed import MixedLogit as MixedLogit
    from .models.choice.nested import NestedLogit as NestedLogit
    from .models.choice.probit import MultinomialProbit as MultinomialProbit
    from .models.choice.ranked import RankOrderedLogit as RankOrderedLogit
    from .models.choice.results import ChoiceResults as ChoiceResults
    from .models.choice.scaled import HeteroskedasticLogit as HeteroskedasticLogit
    from .models.confidence.claims import confidence as confidence
    from .models.confidence.claims import measure as measure
    from .models.confidence.request import SafetyOptions as SafetyOptions
    from .models.count import NegativeBinomial as NegativeBinomial
    from .models.count import Poisson as Poisson
    from .models.function import FunctionModel as FunctionModel
    from .models.function import likelihood as likelihood
    from .models.linear import OLS as OLS
    from .models.linear import WLS as WLS
    from .models.load import load as load
    from .models.many import fit_many as fit_many
    from .models.multinomial import MNLogit as MNLogit
    from .models.multinomial_results import MNLogitResults as MNLogitResults
    from .models.neural.base import ModuleModel as ModuleModel
    from .models.neural.classified import ClassifierResults as ClassifierResults
    from .models.neural.classifier import Classifier as Classifier
    from .models.neural.laplace import Laplace as Laplace
    from .models.neural.results import NeuralResults as NeuralResults
    from .models.partial import module as module
    from .models.predictors import LinearPredictorModel as LinearPredictorModel
    from .models.replay import replay as replay
    from .models.request import FitOptions as FitOptions
    from .params.conditions import equality as equality
    from .params.conditions import inequality as inequality
    from .params.natural import predictor as predictor
    from .report import plots as plot  # noqa: F401
    from .report.stargazer import register_stargazer as register_stargazer
    from .report.table import etable as etable
    from .report.table import table as table
    from .report.tables.document import Table as Table
    from .results.compare import Comparison as Comparison
    from .results.compare import compare as compare
    from .results.effects import Margins as Margins
    from .results.linear import LinearResults as LinearResults
    from .results.many import ManyResults as ManyResults
    from .results.prediction import Prediction as Prediction
    from .results.results import Results as Results
    from .special import log1mexp as log1mexp
    from .special import log_diff_ndtr as log_diff_ndtr
    from .special import log_ndtr as log_ndtr
    from .special import log_sigmoid as log_sigmoid
    from .special import nb2_logpmf_log as nb2_logpmf_log
    from .special import nbinom_logpmf as nbinom_logpmf
    from .special import normal_logpdf as normal_logpdf
    from .special import poisson_logpmf as poisson_logpmf
    from .special import poisson_logpmf_log as poisson_logpmf_log
    from .special import softplus as softplus

__version__ = "0.1.0"

_HOME = {
    "models.linear": ("OLS", "WLS"),
    "models.binary": ("Logit", "Probit"),
    "models.count": ("Poisson", "NegativeBinomial"),
    "models.multinomial": ("MNLogit",),
    "models.multinomial_results": ("MNLogitResults",),
    "models.base": ("GenericLikelihoodModel",),
    "models.confidence.claims": ("confidence", "measure"),
    "models.confidence.request": ("SafetyOptions",),
    "models.partial": ("module",),
    "models.predictors": ("LinearPredictorModel",),
    "models.function": ("likelihood", "FunctionModel"),
    "models.load": ("load",),
    "models.many": ("fit_many",),
    "models.neural.base": ("ModuleModel",),
    "models.neural.classifier": ("Classifier",),
    "models.neural.classified": ("ClassifierResults",),
    "models.neural.laplace": ("Laplace",),
    "models.neural.results": ("NeuralResults",),
    "loglik.modules": ("parameter_names", "to_vector", "with_vector"),
    "models.replay": ("replay",),
    "models.request": ("FitOptions",),
    "params.conditions": ("equality", "inequality"),
    "params.natural": ("predictor",),
    "report.stargazer": ("register_stargazer",),
    "results.results": ("Results",),
    "results.linear": ("LinearResults",),
    "results.compare": ("compare", "Comparison"),
    "results.effects": ("Margins",),
    "results.prediction": ("Prediction",),
    "results.many": ("ManyResults",),
    "inference.multiple": ("adjust_pvalues",),
    "models.choice.conditional": ("ConditionalLogit",),
    "models.choice.latent": ("LatentClassLogit",),
    "models.choice.latent_results": ("LatentClassResults",),
    "models.choice.mixed": ("MixedLogit",),
    "models.choice.nested": ("NestedLogit",),
    "models.choice.crossnested": ("CrossNestedLogit",),
    "models.choice.scaled": ("HeteroskedasticLogit",),
    "models.choice.probit": ("MultinomialProbit",),
    "models.choice.ranked": ("RankOrderedLogit",),
    "models.choice.results": ("ChoiceResults",),
    "loglik.draws": ("Draws",),
    "data.choice_data": ("ChoiceData",),
    "data.constant": ("add_constant",),
    "report.table": ("table", "etable"),
    "report.tables.document": ("Table",),
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
        "StoreError",
        "MissingPackageError",
        "NoDataError",
        "DeviceError",
        "UndefinedStatisticError",
        "TorchmleWarning",
        "DataWarning",
        "CollinearityWarning",
        "ConvergenceWarning",
        "SeparationWarning",
        "SimulationWarning",
    ),
}
_MODULES = {"datasets": "data.datasets", "plot": "report.plots", "testing": "testing"}
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
