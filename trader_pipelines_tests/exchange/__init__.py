"""A test exchange: a local server that speaks as Binance and Alpaca do, and fails on demand."""
