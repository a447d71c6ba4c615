"""The IO managers and the resources."""
