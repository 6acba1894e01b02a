"""Floor 2: corpus, examples, the training loop, export and its proof."""
