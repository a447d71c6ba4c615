"""Many FOVs side by side: the folder of each, its work order and completion marker, the workers."""
