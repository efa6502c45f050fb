"""Write models: the two forms, and the ready-made ones."""
