"""Images and volumes with less noise live here."""
