"""Large Language Models from Scratch: the small package that the course's notebooks import.

Imports run one way: data and tokenizers ← models ← training and generation ← plots ← notebooks.
"""
