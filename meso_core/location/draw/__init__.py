"""Pictures of where FOVs, pixels and cells lie."""
