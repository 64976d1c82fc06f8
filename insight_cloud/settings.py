"""Every setting, one section a component; the only reader of environment and file."""
