"""bzip2 and tar: written and read on all cores."""
