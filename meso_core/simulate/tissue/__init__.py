"""What a microscope sees: cells, their activity, optics, motion, noise."""
