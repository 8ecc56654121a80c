"""Channels: the client's side of Centrifugo's JSON protocol."""
