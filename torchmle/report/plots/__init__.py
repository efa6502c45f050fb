"""Draw fits with matplotlib: every function takes ``ax``, returns the Axes, and leaves showing and saving to you.

Where ``ax`` is None a figure is made by pyplot, so that a notebook shows it. Settings of matplotlib are not changed.
"""

from __future__ import annotations

from .bootstrap import bootstrap
from .coefficients import coefficients
from .confidence import confidence
from .diagnostics import qq, residuals
from .fitted import fit
from .influence import influence
from .margins import margins
from .profile import profile
from .trace import trace

__all__ = [
    "bootstrap",
    "coefficients",
    "confidence",
    "fit",
    "influence",
    "margins",
    "profile",
    "qq",
    "residuals",
    "trace",
]
