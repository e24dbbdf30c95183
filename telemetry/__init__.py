"""How cardwatch is watched: the catalogue of metrics and what makes them, logs, traces, and a process's vital signs."""
