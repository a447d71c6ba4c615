"""What a rig writes: tifs with their headers, the DAQ's recording, QC files, metadata."""
