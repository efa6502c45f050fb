"""Log-probabilities whose value, score and curvature are right in the far tails.

Every function is elementwise, broadcasts, and can be differentiated twice by plain reverse mode. No
probability is clipped: a derivative is zero only where the true one underflows. Where torch's own derivative
loses the tail (the double backward of ``logsigmoid``, the gradient of ``log_ndtr``, ``lgamma`` of a large
argument) it is written out here in a form without cancellation, and compared with exact arithmetic in
``tests/test_special.py``.

Floating inputs keep their dtype and device; torch's global defaults play no part. Gradients flow to the
predictors and parameters, not to the counts ``y``.
"""

from .counts import nb2_logpmf_log, nbinom_logpmf, poisson_logpmf, poisson_logpmf_log
from .logistic import log1mexp, log_sigmoid, softplus
from .normal import log_diff_ndtr, log_ndtr, normal_logpdf

__all__ = [
    "log1mexp",
    "log_diff_ndtr",
    "log_ndtr",
    "log_sigmoid",
    "nb2_logpmf_log",
    "nbinom_logpmf",
    "normal_logpdf",
    "poisson_logpmf",
    "poisson_logpmf_log",
    "softplus",
]
