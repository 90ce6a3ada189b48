"""A terminal that somebody sits at: keys that are pressed, and a screen that is painted anew."""
