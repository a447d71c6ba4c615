"""From the imaging metadata into the brain: FOVs on the coverslip, their pixels, their ROIs."""
