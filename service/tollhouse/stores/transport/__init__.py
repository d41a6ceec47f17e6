"""One connection to one server: dialing, the handshake, pipelined calls, errors, and reconnecting."""
