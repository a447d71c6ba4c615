"""The settings of the platform: where they come from, what they mean, and what is secret."""
