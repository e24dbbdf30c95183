"""Real servers for tests: started on loopback and free ports, stopped and killed on demand, with data of their own."""
