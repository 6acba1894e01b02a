"""An adapter as one file, to keep or to give away: its weights, card, manifest and evidence."""
