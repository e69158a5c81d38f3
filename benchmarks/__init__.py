"""Side-by-side runs against the ways people tune today: `make bench`."""
