"""One file per inference runtime; each imports its library when it is first used."""
