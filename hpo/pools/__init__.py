"""Where workers live: processes of this machine, later a cluster."""
