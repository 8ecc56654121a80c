"""What a site sees of a client, and what makes it work."""
