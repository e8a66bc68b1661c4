"""What extraction and evaluation cost beside what they are made of, and the table of the README."""
