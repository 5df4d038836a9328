"""Speed and memory of the real daemon, measured from outside."""
