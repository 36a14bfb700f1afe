"""Domain types, ports, errors and the clock; standard library only."""
