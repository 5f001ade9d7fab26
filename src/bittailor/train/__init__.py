"""Training, in PyTorch. Import the module that is meant, e.g. `bittailor.train.floats`; each one imports torch."""
