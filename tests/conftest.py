"""Hypothesis settings for the whole suite: no deadlines (speed is measured elsewhere), modest example counts, reproducible."""

import os
import tempfile

from hypothesis import HealthCheck, settings

settings.register_profile("suite", deadline=None, max_examples=40, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="scoresde-tests-")  # where the command keeps its last verdicts
