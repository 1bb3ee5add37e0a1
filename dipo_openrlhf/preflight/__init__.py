"""What a run would find out only with its model and engines up, found before anything starts: the first sample's work."""
