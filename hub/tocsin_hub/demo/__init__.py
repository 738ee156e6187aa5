"""The demonstration: broker, hub and three rooms on one machine, from sound to screen."""
