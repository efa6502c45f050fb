"""Read data: one row mask, designs with names, weights and groups."""
