"""The decoder with other attentions: local, strided, or with fewer keys and values (notebook 13)."""

from dataclasses import dataclass
from functools import partial

from llm_course.models.decoder_transformer import DecoderConfig, DecoderTransformer
from llm_course.models.grouped_query_attention import GroupedQueryAttention
from llm_course.models.local_attention import LocalAttention, MaskedAttention, strided_mask


@dataclass(frozen=True)
class VariantConfig(DecoderConfig):
    """Sizes of a decoder with one of three other attentions: local, strided, or with fewer keys.

    `window`: each place sees so many, itself among them. `stride`: it sees the last so many, and every
    so-manieth before. `n_kv_head`: so many heads of keys and values, shared by the heads of queries.
    """

    window: int | None = None
    stride: int | None = None
    n_kv_head: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        dials = {"window": self.window, "stride": self.stride, "n_kv_head": self.n_kv_head}
        given = {name: value for name, value in dials.items() if value is not None}
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(dials)}, and not {given or 'none'}")
        ((name, value),) = given.items()
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} must be a whole number from 1 on, and is {value!r}")
        if self.n_head % (self.n_kv_head or 1):
            raise ValueError(
                f"n_head must divide by n_kv_head, and {self.n_head} does not divide by {value}"
            )


class VariantTransformer(DecoderTransformer):
    """The decoder, with one of these attentions in every block."""

    def __init__(self, config: VariantConfig) -> None:
        super().__init__(config)
        sizes = config.n_embd, config.n_head
        for block in self.blocks:
            if config.window:
                block.attention = LocalAttention(*sizes, config.window, config.dropout)
            elif config.stride:
                mask = partial(strided_mask, stride=config.stride)
                block.attention = MaskedAttention(*sizes, mask, config.dropout)
            else:
                block.attention = GroupedQueryAttention(*sizes, config.n_kv_head, config.dropout)
            block.attention.apply(self._begin)
