"""The tissue and the microscope: cells, their activity, motion, optics, noise."""
