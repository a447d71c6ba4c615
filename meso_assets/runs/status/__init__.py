"""Where every session stands: disk and runs together, for `meso status`, the overview and the pages."""
