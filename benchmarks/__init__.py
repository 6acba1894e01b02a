"""One script per figure of the README, each with its peer in the same run."""
