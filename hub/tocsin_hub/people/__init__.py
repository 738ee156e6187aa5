"""People: who they are, what they may do, and which zones they see."""
