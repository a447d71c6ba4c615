"""The files of a session as datasets of Alyx."""
