"""The command `tunegate`: starting a gateway, checking its file, and administering a running one.

Commands that administer speak HTTP to the control plane (`admin_client.py`), so they work from anywhere; only
`serve`, `check-config` and `admin-key reset` read the configuration file. Tables on a terminal, tab-separated
lines when piped, one JSON object with `--json`. Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
Read `main.py` first. No rule lives here: what a command means is decided where its service is.
"""
