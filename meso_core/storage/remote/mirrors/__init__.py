"""What of a server is kept on this machine: mirrors of sessions, hashes that are known, and their room."""
