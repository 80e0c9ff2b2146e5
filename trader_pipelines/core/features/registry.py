"""The one list of features, and the version that signals and models name."""

import hashlib
from collections.abc import Sequence

from trader_pipelines.core.features.feature import Feature
from trader_pipelines.core.features.flow import FLOW_FEATURES
from trader_pipelines.core.features.price import PRICE_FEATURES

FEATURES: tuple[Feature, ...] = (*PRICE_FEATURES, *FLOW_FEATURES)

#: Raise it when values change though no formula does: a rounding, a rule for flat windows.
CODE_VERSION = 1


def max_look_back(features: Sequence[Feature] = FEATURES) -> int:
    """How many bars, the current one included, it takes until every feature is known."""
    return max((feature.look_back for feature in features), default=1)


def feature_version(features: Sequence[Feature] = FEATURES) -> str:
    """Name of what the values mean: equal versions give equal values for equal bars.

    Returns
    -------
    str
        Sixteen hex digits over names, formulas and look-backs in order, and `CODE_VERSION`.
    """
    lines = [f"{feature.name}\t{feature.formula}\t{feature.look_back}" for feature in features]
    return hashlib.sha256("\n".join([str(CODE_VERSION), *lines]).encode()).hexdigest()[:16]
