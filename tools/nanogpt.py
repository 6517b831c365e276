"""The opponent in speed: the recipe that nanoGPT publishes for a CPU, written anew from its figures.

4 layers, 4 heads, width 128, window 64, no biases, one table for embedding and output; 2,000 steps of 12
windows, AdamW at 1e-3 (betas 0.9 and 0.99, weight decay 0.1 of matrices), 100 steps of warm-up, half a
cosine down to 1e-4, clipping at 1. https://github.com/karpathy/nanoGPT (2022), "I only have a macbook".
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llm_course.data import Split, get_batch
from llm_course.models.decoder_transformer import DecoderConfig

STEPS, BATCH_SIZE, WARMUP, HIGHEST, LOWEST = 2000, 12, 100, 1e-3, 1e-4


class Block(nn.Module):
    """Pre-norm attention and feed-forward with GELU, by PyTorch's own layers."""

    def __init__(self, n_embd: int, n_head: int) -> None:
        super().__init__()
        self.n_head = n_head
        self.norm1, self.norm2 = (nn.LayerNorm(n_embd, bias=False) for _ in range(2))
        self.query_key_value = nn.Linear(n_embd, 3 * n_embd, bias=False)
        self.output = nn.Linear(n_embd, n_embd, bias=False)
        self.wider = nn.Linear(n_embd, 4 * n_embd, bias=False)
        self.back = nn.Linear(4 * n_embd, n_embd, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return x, shape (B, T, C), with what both parts add."""
        q, k, v = (
            part.unflatten(-1, (self.n_head, -1)).transpose(1, 2)
            for part in self.query_key_value(self.norm1(x)).chunk(3, dim=-1)
        )
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.output(attended.transpose(1, 2).flatten(2))
        return x + self.back(F.gelu(self.wider(self.norm2(x))))


class NanoGPT(nn.Module):
    """The model of that recipe; 804,096 parameters on Tiny Shakespeare's 65 characters."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.config = DecoderConfig(vocab_size, n_layer=4)
        n_embd = self.config.n_embd
        self.token_embedding = nn.Embedding(vocab_size, n_embd)
        self.position_embedding = nn.Embedding(self.config.context_length, n_embd)
        self.blocks = nn.Sequential(
            *(Block(n_embd, self.config.n_head) for _ in range(self.config.n_layer))
        )
        self.norm = nn.LayerNorm(n_embd, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                is_last = name.endswith(("output.weight", "back.weight"))
                std = 0.02 / math.sqrt(2 * self.config.n_layer) if is_last else 0.02
                nn.init.normal_(parameter, std=std)

    def forward(
        self, tokens: Tensor, targets: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the logits, and the mean cross-entropy where targets are given."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.token_embedding(tokens) + self.position_embedding(places)
        logits = F.linear(self.norm(self.blocks(x)), self.token_embedding.weight)
        loss = None if targets is None else F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return logits, loss


def train_as_published(model: NanoGPT, data: Split, seed: int = 0, steps: int = STEPS) -> None:
    """Train the model in place by the published recipe, or by the first `steps` of it."""
    generator = torch.Generator().manual_seed(seed)
    matrices = [p for p in model.parameters() if p.ndim == 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        betas=(0.9, 0.99),
        fused=True,
    )
    for step in range(steps):
        share = (step - WARMUP) / (STEPS - WARMUP)
        rate = LOWEST + (HIGHEST - LOWEST) * 0.5 * (1 + math.cos(math.pi * share))
        for group in optimizer.param_groups:
            group["lr"] = HIGHEST * (step + 1) / (WARMUP + 1) if step < WARMUP else rate
        inputs, targets = get_batch(data.train, BATCH_SIZE, model.config.context_length, generator)
        _, loss = model(inputs, targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
