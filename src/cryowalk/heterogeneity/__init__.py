"""Bodies, linear modes and neural latents live here."""
