"""What the platform tells Alyx, apart from the assets: what is held back, and what waits for the server."""
