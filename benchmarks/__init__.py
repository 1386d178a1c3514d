"""Speed, as ratios and against stated budgets, in one run: ``python -m benchmarks.NAME``. Nothing here is a test."""
