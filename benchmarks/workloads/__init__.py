"""What is measured, one module each: `run(subject)` does it and returns the figures."""
