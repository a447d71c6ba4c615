"""New sessions and what is due in them: what is looked at, and what is asked for."""
