"""The command line: one command per room, options generated from each room's settings."""
