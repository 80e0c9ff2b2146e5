"""Features of minute bars: one registry, computed causally, audited for leaks on every build."""

from trader_pipelines.core.features.compute import (
    compute_features,
    feature_schema,
    feature_values,
)
from trader_pipelines.core.features.feature import Feature
from trader_pipelines.core.features.leaks import Leak, audit
from trader_pipelines.core.features.registry import FEATURES, feature_version, max_look_back

__all__ = [
    "FEATURES",
    "Feature",
    "Leak",
    "audit",
    "compute_features",
    "feature_schema",
    "feature_values",
    "feature_version",
    "max_look_back",
]
