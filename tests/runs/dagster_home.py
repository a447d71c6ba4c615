"""A home with Dagster's records, made, damaged and looked into."""

import os

from meso_assets.runs.instance import open_instance
from meso_assets.runs.settings.settings import load_settings

INDEX = "history/runs/index.db"


def made_home(folder):
    """Make records in a folder, one of them the partition ``kept``; returns the home of Dagster."""
    os.environ.pop("DAGSTER_HOME", None)  # of the last instance that another module opened
    settings = load_settings({"home": folder})
    with open_instance(settings) as instance:
        instance.add_dynamic_partitions("session", ["kept"])
    os.environ.pop("DAGSTER_HOME")
    return settings.dagster_home


def partitions(settings):
    """Partitions that the records hold."""
    with open_instance(settings) as instance:
        return list(instance.get_dynamic_partitions("session"))


def spoil(path):
    """Overwrite what lies behind the first page of a file of records: it opens, and is damaged."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
