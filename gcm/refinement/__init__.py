"""The matching kernels: pure tensor functions that know no network."""
