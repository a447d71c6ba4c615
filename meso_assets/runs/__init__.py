"""Running: settings, the Dagster instance, runs from a terminal, status, the demo."""
