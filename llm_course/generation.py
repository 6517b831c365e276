"""Writing text with a model: one token after another, each drawn from the model's own distribution."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from llm_course.evaluation import evaluating
from llm_course.tokenizers import CharTokenizer


def generate(
    model: nn.Module,
    prompt: Int[Tensor, "B T"],
    n_tokens: int,
    *,
    generator: torch.Generator,
    temperature: float = 1.0,
) -> Int[Tensor, "B T_and_n"]:
    """Return the prompts with `n_tokens` drawn tokens behind each; the model sees its last window.

    The logits are divided by `temperature` before the softmax: below 1 the likely gets likelier.
    """
    if prompt.shape[1] < 1:
        raise ValueError(
            "an empty prompt gives the model nothing to go on: give at least one token"
        )
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, and is {temperature}")
    tokens = prompt
    with evaluating(model):
        for _ in range(n_tokens):
            logits, _ = model(tokens[:, -model.config.context_length :])
            probs = torch.softmax(logits[:, -1] / temperature, dim=-1)
            if not probs.isfinite().all():
                raise ValueError(
                    "the chances are not numbers: damaged weights, or too small a temperature"
                )
            drawn = torch.multinomial(probs, num_samples=1, generator=generator)
            tokens = torch.cat([tokens, drawn], dim=1)
    return tokens


def generate_text(
    model: nn.Module,
    tokenizer: CharTokenizer,
    prompt: str = "\n",
    n_tokens: int = 200,
    *,
    seed: int = 0,
    temperature: float = 1.0,
) -> str:
    """Return the prompt and the text that the model writes behind it; the same seed, the same text."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    generator = torch.Generator(device).manual_seed(seed)
    tokens = tokenizer.encode(prompt).to(device)[None]
    written = generate(model, tokens, n_tokens, generator=generator, temperature=temperature)
    return tokenizer.decode(written[0])


def next_chances(
    model: nn.Module, tokenizer: CharTokenizer, text: str, top: int
) -> tuple[Float[Tensor, " top"], str]:
    """Return the chances of the `top` likeliest characters after `text`, and these characters."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    tokens = tokenizer.encode(text).to(device)[None, -model.config.context_length :]
    with evaluating(model):
        logits, _ = model(tokens)
    chances, tokens = logits[0, -1].softmax(dim=-1).topk(top)
    return chances, tokenizer.decode(tokens)
