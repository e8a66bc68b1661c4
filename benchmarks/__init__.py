"""The measurements behind every number of the README; each says how it is run."""
