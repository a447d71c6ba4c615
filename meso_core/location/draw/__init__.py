"""Pictures of where FOVs, pixels and ROIs lie."""
