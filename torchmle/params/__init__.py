"""Name parameters and move between the user's units and the scaled ones that optimizers see."""
