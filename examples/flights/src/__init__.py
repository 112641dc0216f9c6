"""Steps of the flights example: how likely is a flight to leave more than 15 minutes late."""
