"""From the coverslip into the brain: geometry of the window, rays, positions of pixels and ROIs."""
