"""One connection to one server: how it is made, what it carries, and how it fails."""
