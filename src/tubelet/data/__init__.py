"""What feeds training: clips with captions, from folders or from rendered worlds."""
