"""A plan as the text of bird.conf, and what going from one text to another does to sessions. Pure."""
