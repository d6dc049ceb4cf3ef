"""An install on one machine: everything it owns lives in one directory."""
