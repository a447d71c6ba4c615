"""Fields of view, their locations, and the craniotomy."""
