"""Channels: what is published, remembered and resumed, and who is in them. No sockets."""
