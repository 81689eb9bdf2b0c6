"""What is done in a session and measured, a module each: TITLE, SECONDS that it may take, and run()."""
