"""The gate on a server: what a session holds there is shown in a folder, and tifs are moved by the server itself."""
