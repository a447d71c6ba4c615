"""The brain atlas: annotation files, label volumes on disk, the made-up phantom, rays through the voxels."""
