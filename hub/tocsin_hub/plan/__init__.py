"""The floor plan: a picture of the site, and where in it each room lies."""
