"""What suite2p is asked to do: its settings by name, and how they follow from a session's metadata."""
