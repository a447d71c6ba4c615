"""The assets, one module per group of the UI. Each function names inputs, calls one function of meso_core, reports."""
