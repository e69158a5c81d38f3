"""What a request would do, how long it would take, and what to mind, without running it."""
