"""Default configuration as data: policy, models, streams, messages, mappings; read through `importlib.resources`."""
