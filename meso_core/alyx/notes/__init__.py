"""What people read in Alyx: snapshots, and the verdict on a session."""
