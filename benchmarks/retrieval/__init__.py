"""The list of likest pairs beside what matching every pair finds."""
