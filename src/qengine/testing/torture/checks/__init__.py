"""The checks, each a pure function from a history to the promises that were broken, by what they look at."""
