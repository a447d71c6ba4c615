"""What Dagster is told: the assets' declarations, partitions, jobs, sensors, checks."""
