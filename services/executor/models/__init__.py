"""The tables of the executor and the rules they keep, one file per aggregate."""
