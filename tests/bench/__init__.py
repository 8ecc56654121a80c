"""Loads that are too long for the tests; each module is a command, none is collected by pytest."""
