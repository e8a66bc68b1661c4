"""From images to feature pyramids: what asks for features, what answers, and what is remembered."""
