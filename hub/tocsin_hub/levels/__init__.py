"""How loud each room was, minute by minute: gathered from heartbeats, kept for some days, drawn as plots."""
