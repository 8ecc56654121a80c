"""One WebSocket connection, from the URL to the messages."""
