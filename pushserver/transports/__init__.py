"""What a connection is on the wire: how it is read, framed, kept alive and closed."""
