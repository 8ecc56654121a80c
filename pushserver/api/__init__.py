"""The HTTP API for other processes, which is Centrifugo's."""
