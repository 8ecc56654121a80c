"""What the site sees of a client, and what stands behind it."""
