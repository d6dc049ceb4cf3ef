"""The edge: REST over every service's RPCs, and the accounts that sign in to it."""
