"""What is measured: each scenario is a module with the ``Scenario`` objects of its tables."""
