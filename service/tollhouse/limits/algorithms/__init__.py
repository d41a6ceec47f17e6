"""The rules of each algorithm: pure, in integers, with no clock and no I/O; the Lua scripts name them as `twin`."""
