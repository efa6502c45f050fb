"""Set several results side by side, in the formats of papers."""
