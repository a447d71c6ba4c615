"""The services behind `meso dev`: Dagster's web server behind a guard, and its daemon."""
