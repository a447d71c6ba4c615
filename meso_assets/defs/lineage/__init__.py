"""Audits and lineage as the platform asks for them."""
