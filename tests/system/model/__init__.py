"""Independent Python models of what the sensor must say: nothing here shares a line with the C sources."""
