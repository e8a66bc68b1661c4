"""``python -m gcm_cli``."""

from gcm_cli.app import app

app(prog_name="gcm")
