"""The algorithms: pure functions on integers, without a clock or I/O; each Lua script names its function as `twin`."""
