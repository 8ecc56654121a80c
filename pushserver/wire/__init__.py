"""RFC 6455 without any I/O: frames, the parser, the opening handshake, close codes."""
