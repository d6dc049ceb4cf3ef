"""Where the code of one seat runs: it reaches nothing but its own memory and the referee."""
