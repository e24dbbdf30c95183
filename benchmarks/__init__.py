"""Workloads, peers and measurements; the tables of docs/benchmarks.md are written from here."""
