"""Files that a rig writes: tifs with their headers, the DAQ recording, QC files, metadata."""
