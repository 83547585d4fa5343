"""The framework's migration scripts, in the order of their numbers."""
