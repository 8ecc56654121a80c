"""Loads that are too long for the tests; none is collected by pytest.

``python -m tests.bench`` measures pushserver beside other servers. ``rounds`` and ``ticks`` are
commands of their own.
"""
