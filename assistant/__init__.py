"""Floor 1: models and registry, engines, skills, the gateway and its client."""
