"""The CherryPy side: plugin, tool, and the way of a request to a connection."""
