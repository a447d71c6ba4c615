"""The jobs that remove raw tifs, and what they ask of a person first."""
