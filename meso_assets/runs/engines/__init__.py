"""The engines that run steps, as their own commands and interfaces tell of them."""
