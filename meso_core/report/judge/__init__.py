"""Verdicts on what all results of a session have published: measured here, judged with ``meso_core.qc``'s limits."""
