"""Every game stands behind `games.interface.Game`; nothing here knows who is playing or why."""
