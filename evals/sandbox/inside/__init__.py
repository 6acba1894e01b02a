"""What runs inside the sandbox, in its own interpreter: the standard library and these modules alone."""
