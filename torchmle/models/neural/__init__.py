"""Hold models whose likelihood is a module."""
