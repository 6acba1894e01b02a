"""Runs programs that nobody has read: without network, without the user's files, within limits, judged from outside."""
