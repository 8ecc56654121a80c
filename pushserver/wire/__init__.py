"""RFC 6455 without I/O: frames, the parser, the opening handshake, close codes."""
