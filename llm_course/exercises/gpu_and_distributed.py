"""Exercises of notebook 11: one big batch in parts, and what each of many processes holds."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from llm_course.exercises.exercise import Exercise, Question
from llm_course.exercises.inputs import floats, sizes

NOTEBOOK = "11_gpu_and_distributed"

# --- accumulated --------------------------------------------------------------------------------------


def _accumulated(gradients: Float[Tensor, "N C D"], sizes: list[int]) -> Float[Tensor, "C D"]:
    total = sum(size * gradient for size, gradient in zip(sizes, gradients, strict=True))
    return total / sum(sizes)


def _parts(generator: torch.Generator) -> tuple[Tensor, list[int]]:
    N, C, D = sizes(generator, (3, 5), (6, 9), (6, 9))
    windows = 10 + torch.randperm(9, generator=generator)[:N]  # all different, and none is N
    return floats(generator, N, C, D), windows.tolist()


accumulated = Exercise(
    name="accumulated",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_accumulated,
    inputs=_parts,
    hint="Go through sizes and gradients together and add up size · gradient; then divide by sum(sizes).",
)


@accumulated.mistake(
    "every part counts the same here, however small it is. Multiply each gradient by its size, and "
    "divide by sum(sizes)."
)
def plain_mean(gradients, sizes):
    return gradients.mean(dim=0)


@accumulated.mistake(
    "the gradients are only added up. Multiply each by its size, divide by sum(sizes)."
)
def plain_sum(gradients, sizes):
    return gradients.sum(dim=0)


@accumulated.mistake("the sum of size · gradient is right. Divide it by sum(sizes).")
def weighted_sum(gradients, sizes):
    return _accumulated(gradients, sizes) * sum(sizes)


@accumulated.mistake("the sum is divided by the number of *parts*. Divide by sum(sizes).")
def divided_by_parts(gradients, sizes):
    return weighted_sum(gradients, sizes) / len(sizes)


@accumulated.mistake("the gradients are not multiplied by their sizes. Dividing is right.")
def sizes_left_out(gradients, sizes):
    return gradients.sum(dim=0) / sum(sizes)


@accumulated.mistake("each is divided by its size. Multiply, and divide the sum by sum(sizes).")
def each_divided(gradients, sizes):
    return sum(g / size for g, size in zip(gradients, sizes, strict=True))


@accumulated.mistake("this is the last part's gradient alone. Add all of them up: +=, not =.")
def last_part(gradients, sizes):
    return gradients[-1].clone()


@accumulated.mistake("size · gradient replaces the sum, so the last is left. Add it: +=, not =.")
def overwritten(gradients, sizes):
    return sizes[-1] * gradients[-1] / sum(sizes)


@accumulated.mistake("only the first part is in it. Move `return` below the loop.")
def returned_in_the_loop(gradients, sizes):
    return sizes[0] * gradients[0] / sum(sizes)


@accumulated.mistake("the sum is divided anew for each part. Divide once, below the loop.")
def divided_in_the_loop(gradients, sizes):
    total = torch.zeros_like(gradients[0])
    for g, size in zip(gradients, sizes, strict=True):
        total = (total + size * g) / sum(sizes)
    return total


@accumulated.mistake("the sum is divided by the *last* size alone. Divide by sum(sizes).")
def divided_by_the_last_size(gradients, sizes):
    return weighted_sum(gradients, sizes) / sizes[-1]


@accumulated.mistake("everything is 0: `//` leaves nothing of a share below 1. Divide with /.")
def whole_division(gradients, sizes):
    return torch.zeros_like(gradients[0])


@accumulated.mistake(
    "PyTorch matches the last dimensions, and sizes belong to the first. Give them the shape (N, 1, 1), "
    "or go through the parts in a loop."
)
def sizes_at_the_last_dimension(gradients, sizes):
    return gradients * torch.tensor(sizes)


@accumulated.mistake("sizes is a list. Take one gradient and its size at a time: zip.")
def times_a_list(gradients, sizes):
    return gradients * sizes


# --- own_rows -----------------------------------------------------------------------------------------


def _own_rows(batch: Shaped[Tensor, "B T"], rank: int, n_processes: int) -> Shaped[Tensor, "b T"]:
    return batch[rank::n_processes]


def _batch(generator: torch.Generator) -> tuple[Tensor, int]:
    n_processes, each, T = sizes(generator, (3, 5), (6, 8), (9, 13))
    return floats(
        generator, n_processes * each, T
    ), n_processes  # `check` names mistakes in decimals


def _process_in_the_middle(generator: torch.Generator) -> tuple[Tensor, int, int]:
    batch, n_processes = _batch(generator)
    return batch, int(torch.randint(1, n_processes - 1, (), generator=generator)), n_processes


def _first_process(generator: torch.Generator) -> tuple[Tensor, int, int]:
    batch, n_processes = _batch(generator)
    return batch, 0, n_processes


def _last_process(generator: torch.Generator) -> tuple[Tensor, int, int]:
    batch, n_processes = _batch(generator)
    return batch, n_processes - 1, n_processes


own_rows = Exercise(
    name="own_rows",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=1,
    reference=_own_rows,
    inputs=(_process_in_the_middle, _last_process, _first_process),
    hint="A slice has three parts, start:stop:step, and stop may be left out.",
)


@own_rows.mistake(
    "these are neighbouring rows. They would do as well, but here the rows are dealt out in turn, like "
    "cards: begin at row `rank`, in steps of n_processes."
)
def neighbouring_rows(batch, rank, n_processes):
    return batch.chunk(n_processes)[rank]


@own_rows.mistake("these are n_processes neighbouring rows. n_processes is the *step*.")
def as_many_rows_as_processes(batch, rank, n_processes):
    return batch[rank * n_processes : (rank + 1) * n_processes]


@own_rows.mistake("every process takes the same first rows. Begin at `rank`, step n_processes.")
def first_rows(batch, rank, n_processes):
    return batch[: len(batch) // n_processes]


@own_rows.mistake("every process takes the rows of process 0. Begin at row `rank`.")
def rank_ignored(batch, rank, n_processes):
    return batch[::n_processes]


@own_rows.mistake("it begins one row late. Processes count from 0, as rows do: begin at `rank`.")
def one_row_late(batch, rank, n_processes):
    return batch[rank + 1 :: n_processes]


@own_rows.mistake("it begins one row early. Processes count from 0, as rows do: begin at `rank`.")
def one_row_early(batch, rank, n_processes):
    return batch[rank - 1 :: n_processes]


@own_rows.mistake("these are *columns*: every window is cut. Rows come first, without `:,`.")
def columns(batch, rank, n_processes):
    return batch[:, rank::n_processes]


@own_rows.mistake("start and step are swapped: start:stop:step, beginning at `rank`.")
def start_and_step_swapped(batch, rank, n_processes):
    return batch[n_processes::rank]


@own_rows.mistake("one colon is missing: n_processes is where it *stops* here, and no step.")
def one_colon(batch, rank, n_processes):
    return batch[rank:n_processes]


@own_rows.mistake("all rows from row `rank` on are taken. The step is missing: n_processes.")
def without_step(batch, rank, n_processes):
    return batch[rank:]


@own_rows.mistake("this is a single row. Every n_processes-th after it belongs to it, too.")
def single_row(batch, rank, n_processes):
    return batch[rank]


@own_rows.mistake("the step is the number of rows each process gets. It is n_processes.")
def step_is_their_number(batch, rank, n_processes):
    return batch[rank :: len(batch) // n_processes]


# --- ring_sum -----------------------------------------------------------------------------------------


def _ring_sum(pieces: Float[Tensor, "n n D"]) -> Float[Tensor, "n n D"]:
    held, n = pieces.clone(), len(pieces)
    for t in range(n - 1):
        for r in range(n):  # one by one: the piece that a process sends is not the one it gets
            p = (r - t) % n
            held[(r + 1) % n, p] += held[r, p]
    return held


def _ring(pieces, rounds, number=lambda r, t: r - t, step=1):
    """In each round t, let process r send its piece number(r, t) to process r + step."""
    held, n = pieces.clone(), len(pieces)
    for t in rounds:
        sent = [held[r, number(r, t) % n].clone() for r in range(n)]
        for r in range(n):
            held[(r + step) % n, number(r, t) % n] += sent[r]
    return held


def _gradients_of_all(generator: torch.Generator) -> tuple[Tensor]:
    n, D = sizes(generator, (4, 6), (7, 10))
    return (floats(generator, n, n, D),)


ring_sum = Exercise(
    name="ring_sum",
    notebook=NOTEBOOK,
    minutes=10,
    difficulty=3,
    reference=_ring_sum,
    inputs=_gradients_of_all,
    hint="Copy with clone(). Two loops, one in the other: over t in range(n − 1), and over r in range(n). "
    "Inside, p = (r − t) % n, and one += with [process, piece] on both sides.",
)


@ring_sum.mistake("this is one round too many: a complete sum is added once more. n − 1 rounds.")
def one_round_too_many(pieces):
    return _ring(pieces, range(len(pieces)))


@ring_sum.mistake("one round is missing: each sum lacks a process. n − 1 rounds.")
def one_round_too_few(pieces):
    return _ring(pieces, range(len(pieces) - 2))


@ring_sum.mistake("the rounds are counted from 1. Count from 0: first, process r sends piece r.")
def rounds_from_one(pieces):
    return _ring(pieces, range(1, len(pieces)))


@ring_sum.mistake("the pieces go to the left, r − 1. Send them to the right: (r + 1) % n.")
def to_the_left(pieces):
    return _ring(pieces, range(len(pieces) - 1), step=-1)


@ring_sum.mistake("piece (r + t) % n is sent, which was never added to. It is (r − t) % n.")
def plus_t(pieces):
    return _ring(pieces, range(len(pieces) - 1), lambda r, t: r + t)


@ring_sum.mistake(
    "the ring runs the other way round: to the left, with (r + t). It would do as well, but the task is "
    "to send piece (r − t) % n to the right."
)
def the_other_way_round(pieces):
    return _ring(pieces, range(len(pieces) - 1), lambda r, t: r + t, step=-1)


@ring_sum.mistake("process r sends piece r in every round. The number changes: (r − t) % n.")
def always_the_same_piece(pieces):
    return _ring(pieces, range(len(pieces) - 1), lambda r, t: r)


@ring_sum.mistake(
    "the number is counted at the one who *gets* the piece. The sender decides: process r sends its "
    "piece (r − t) % n."
)
def counted_at_the_receiver(pieces):
    return _ring(pieces, range(len(pieces) - 1), lambda r, t: r + 1 - t)


@ring_sum.mistake("the piece that arrives *replaces* the neighbour's. Add it: +=, and not =.")
def replaced(pieces):
    held, n = pieces.clone(), len(pieces)
    for t in range(n - 1):
        for r in range(n):
            held[(r + 1) % n, (r - t) % n] = held[r, (r - t) % n]
    return held


@ring_sum.mistake("what is sent comes from the input. Send what the process holds *now*.")
def sent_from_the_input(pieces):
    held, n = pieces.clone(), len(pieces)
    for t in range(n - 1):
        for r in range(n):
            held[(r + 1) % n, (r - t) % n] += pieces[r, (r - t) % n]
    return held


@ring_sum.mistake(
    "all but the complete sums are 0. Does a sender lose what it sends? It sends a copy, and keeps its "
    "own."
)
def sender_loses_it(pieces):
    held, n = pieces.clone(), len(pieces)
    for t in range(n - 1):
        for r in range(n):
            held[(r + 1) % n, (r - t) % n] += held[r, (r - t) % n]
            held[r, (r - t) % n] = 0
    return held


@ring_sum.mistake("the indices are swapped: the process comes first, and then the piece.")
def indices_swapped(pieces):
    return _ring_sum(pieces.transpose(0, 1)).transpose(0, 1)


@ring_sum.mistake(
    "`% n` is missing, or it is without brackets, (r + 1) % n, or n is not len(pieces): the last process "
    "has no neighbour n, but process 0."
)
def without_modulo(pieces):
    return pieces[len(pieces)]


@ring_sum.mistake("these are the complete sums alone. Return all that is held: (n, n, D).")
def complete_sums_only(pieces):
    return pieces.sum(dim=0).roll(-1, dims=0)


@ring_sum.mistake("this is the plain sum. Return what each process holds at the end: (n, n, D).")
def sum_over_processes(pieces):
    return pieces.sum(dim=0)


@ring_sum.mistake(
    "here every process holds every sum, as after the *second* half of the ring. Now process r has one "
    "complete sum, that of piece (r + 1) % n."
)
def all_sums_for_all(pieces):
    return pieces.sum(dim=0).expand_as(pieces).clone()


@ring_sum.mistake(
    "the complete sums are right, but all other pieces are as they were. They become unfinished sums on "
    "the way: go through the rounds."
)
def without_the_unfinished(pieces):
    held, n = pieces.clone(), len(pieces)
    for r in range(n):
        held[r, (r + 1) % n] = pieces[:, (r + 1) % n].sum(dim=0)
    return held


@ring_sum.mistake("the loops are swapped. Rounds come first, and in each all processes send.")
def loops_swapped(pieces):
    held, n = pieces.clone(), len(pieces)
    for r in range(n):
        for t in range(n - 1):
            held[(r + 1) % n, (r - t) % n] += held[r, (r - t) % n]
    return held


@ring_sum.mistake("the last process sends nothing. It sends to process 0: r in range(n).")
def last_one_is_silent(pieces):
    held, n = pieces.clone(), len(pieces)
    for t in range(n - 1):
        for r in range(n - 1):
            held[(r + 1) % n, (r - t) % n] += held[r, (r - t) % n]
    return held


# --- bytes_a_process ----------------------------------------------------------------------------------


def _bytes_a_process(n_parameters: int, n_processes: int, strategy: str) -> float:
    whole = 4 * 4 * n_parameters  # weight, gradient and two moments, of 4 bytes each
    return whole / n_processes if strategy == "fsdp" else float(whole)


def _counts(generator: torch.Generator) -> tuple[int, int]:
    n_parameters = int(torch.randint(2_000_000, 8_000_000, (), generator=generator))
    return n_parameters, int(torch.randint(3, 8, (), generator=generator))


def _whole_everywhere(generator: torch.Generator) -> tuple[int, int, str]:
    return *_counts(generator), "ddp"


def _shared_out(generator: torch.Generator) -> tuple[int, int, str]:
    return *_counts(generator), "fsdp"


bytes_a_process = Exercise(
    name="bytes_a_process",
    notebook=NOTEBOOK,
    minutes=5,
    difficulty=2,
    reference=_bytes_a_process,
    inputs=(_whole_everywhere, _shared_out),
    hint='Four numbers of 4 bytes make 16 bytes a parameter. With "fsdp", divide by n_processes.',
)


def _bytes(n_parameters, n_processes, strategy, ddp, fsdp):
    """Return the bytes, from bytes a parameter that are (whole, shared out) in each strategy."""
    whole, shared = ddp if strategy == "ddp" else fsdp
    return (whole + shared / n_processes) * n_parameters


@bytes_a_process.mistake(
    "this is three quarters of it. Is the gradient missing, or one of the *two* moments? Each of the "
    "four has 4 bytes."
)
def three_numbers(n_parameters, n_processes, strategy):
    return _bytes(n_parameters, n_processes, strategy, (12, 0), (0, 12))


@bytes_a_process.mistake(
    "this is half. Are two of the four numbers missing, such as the moments, or has a number 2 bytes "
    "here? In float32 it has 4."
)
def half_of_it(n_parameters, n_processes, strategy):
    return _bytes(n_parameters, n_processes, strategy, (8, 0), (0, 8))


@bytes_a_process.mistake(
    "this is a quarter: the weights alone, or numbers and no bytes. It is 4 numbers of 4 bytes."
)
def quarter_of_it(n_parameters, n_processes, strategy):
    return _bytes(n_parameters, n_processes, strategy, (4, 0), (0, 4))


@bytes_a_process.mistake("these are bits. A number in float32 has 32 bits, which are 4 bytes.")
def bits(n_parameters, n_processes, strategy):
    return 8 * _bytes_a_process(n_parameters, n_processes, strategy)


@bytes_a_process.mistake(
    'it is shared out with "ddp", too. There every process holds everything: divide for "fsdp" alone. Is '
    "the name in small letters?"
)
def shared_out_always(n_parameters, n_processes, strategy):
    return _bytes(n_parameters, n_processes, strategy, (0, 16), (0, 16))


@bytes_a_process.mistake(
    'with "fsdp", divide by n_processes. Is your condition ever true? Names are in small letters, and '
    '`== "ddp" or "fsdp"` is always true.'
)
def never_shared_out(n_parameters, n_processes, strategy):
    return _bytes(n_parameters, n_processes, strategy, (16, 0), (16, 0))


@bytes_a_process.mistake('the two are swapped: it is "fsdp" that shares out, and not "ddp".')
def strategies_swapped(n_parameters, n_processes, strategy):
    return _bytes(n_parameters, n_processes, strategy, (0, 16), (16, 0))


@bytes_a_process.mistake('with "fsdp", two of the four are left whole. Share out all four.')
def half_shared_out(n_parameters, n_processes, strategy):
    return _bytes(n_parameters, n_processes, strategy, (16, 0), (8, 8))


@bytes_a_process.mistake('with "fsdp", one of the four is left whole. Share out all four.')
def one_left_whole(n_parameters, n_processes, strategy):
    return _bytes(n_parameters, n_processes, strategy, (16, 0), (4, 12))


@bytes_a_process.mistake('with "fsdp", only one of the four is shared out. Share out all four.')
def one_shared_out(n_parameters, n_processes, strategy):
    return _bytes(n_parameters, n_processes, strategy, (16, 0), (12, 4))


@bytes_a_process.mistake("this is the sum over all processes. How much does *one* hold?")
def sum_of_all(n_parameters, n_processes, strategy):
    return n_processes * _bytes_a_process(n_parameters, n_processes, strategy)


@bytes_a_process.mistake('with "fsdp", it is multiplied by n_processes. Divide.')
def multiplied_in_fsdp(n_parameters, n_processes, strategy):
    return _bytes(n_parameters, n_processes, strategy, (16, 0), (16 * n_processes, 0))


# --- questions ----------------------------------------------------------------------------------------

eight_processes = Question(
    name="eight_processes",
    notebook=NOTEBOOK,
    minutes=3,
    difficulty=2,
    options={
        "a": (
            "nothing but the time",
            "A step averages over 128 windows now: as many steps read 8 times as many tokens.",
        ),
        "b": (
            "a step is now one with a batch of 128: as many tokens take fewer steps, and the learning rate "
            "is to be looked for again",
            "The average of the 8 gradients is the gradient of all 128 windows. With a larger batch, "
            "another learning rate is often best.",
        ),
        "c": (
            "the gradients are 8 times as long, as 8 of them are added up",
            "They are averaged: the sum is divided by 8.",
        ),
        "d": (
            "each process trains a model of its own",
            "All begin with the same weights and step with the same averaged gradient: they stay equal.",
        ),
    },
    right="b",
    hint="How many windows are in an averaged gradient?",
)

EXERCISES = [accumulated, own_rows, ring_sum, bytes_a_process, eight_processes]
