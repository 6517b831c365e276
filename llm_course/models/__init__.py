"""The ladder of models, one file a rung; each file imports only rungs below it.

Every model is a `torch.nn.Module` with the same face: `model.config.vocab_size`,
`model.config.context_length`, and `model(tokens, targets=None) -> (logits, loss)`, with logits of shape
(B, T, vocab_size) and the loss a mean in nats per token, or None without targets.
"""
