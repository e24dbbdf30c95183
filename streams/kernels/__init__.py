"""Loops over bytes between Kafka and the engine, compiled like those of the detector.

Numba keeps what it compiles by the file of the kernel alone; `detector.jit` names the folder of its cache after every
file in here as well, so that a change in one is a change for all. Nothing outside is frozen into a kernel but what the
detector says.
"""
