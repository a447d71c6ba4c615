"""The brain atlas: annotation volumes and where they are kept, the surface mesh, the made-up phantom."""
