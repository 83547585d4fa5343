"""Benchmarks: framework-schema, the tools beside it, and the floor under all of them. See docs/benchmarks.md."""
