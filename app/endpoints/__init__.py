"""The routes that models answer: one file each."""
