"""Who can tell a container's name, and how they are asked."""
