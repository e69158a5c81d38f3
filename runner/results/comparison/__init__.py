"""Many runs beside each other: finding, ranking and testing them, and tables of them."""
