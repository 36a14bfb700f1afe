"""What runs where: the wanted fleet, restarts and their limits."""
