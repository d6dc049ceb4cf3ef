"""Programs that play without learning: they judge."""
