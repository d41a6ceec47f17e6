"""Framework-free ASGI middleware: shared pieces here, and a folder for each kind of middleware."""
