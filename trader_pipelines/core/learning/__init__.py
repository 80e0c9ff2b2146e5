"""Leak-proof learning: training sets, walk-forward splits, models, scores and the gate."""
