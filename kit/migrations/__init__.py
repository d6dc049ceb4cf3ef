"""Alembic environment shared by all services; their migrations lie with them."""
