"""A platform on loopback."""
