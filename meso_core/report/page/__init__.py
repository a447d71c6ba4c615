"""The page: its parts as values, and the templates that lay them out."""
