"""The HTTP API for other processes, Centrifugo's."""
