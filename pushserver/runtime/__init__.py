"""The thread that owns the sockets, the threads that run callbacks, and what they share."""
