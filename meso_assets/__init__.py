"""meso_assets: the platform. Dagster definitions, settings, IO managers, sensors and the command line; no science."""
