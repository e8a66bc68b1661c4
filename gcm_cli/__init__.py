"""The `gcm` command; the library it drives is the package `gcm`."""
