"""What cutting a list costs, and whether the cost model foretells a run."""
