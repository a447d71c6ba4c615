"""How sessions stand: of what is on disk, and kept so that the next look is short."""
