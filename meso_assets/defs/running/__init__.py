"""Runs side by side: what they need and took, what goes first, who works at what, and which are dead."""
