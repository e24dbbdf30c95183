"""The front door: command line, settings, supervised processes, embedded services, simulator and replay."""
