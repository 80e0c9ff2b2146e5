"""Bars: what their files are called, and of which version they are."""

MINUTE, DOLLAR = "minute_bars", "dollar_bars"
BARS_VERSION = "1"
