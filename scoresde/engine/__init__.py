"""Engines consume tables: ``simulate`` draws particles, ``propagate`` returns the law of the chain with no Monte Carlo."""
