"""Motion registration of one FOV: the reference image, the shifts of each frame, the registered movie."""
