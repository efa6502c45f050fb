"""Hold results: frozen, named in pandas, and never refitted by looking at them."""
