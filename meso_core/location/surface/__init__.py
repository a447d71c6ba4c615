"""The brain's dorsal surface: its triangle mesh, the coverslip that touches it, the map seen from above."""
