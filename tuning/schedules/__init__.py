"""Tuning that comes again by itself, through the schedulers that the machine has: cron and systemd's timers."""
