"""What runs work on: datasets, models and benchmarks by name, and the rows behind them."""
