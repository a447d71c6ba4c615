"""Carrying out a plan: each record is sent once, and what became of it is kept."""
