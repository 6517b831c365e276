"""Every mistake gets its own hint, every reference passes, and no attempt gets a traceback."""

import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from llm_course import exercises
from llm_course.exercises import Exercise, Question, check, find
from llm_course.exercises import trial as trials
from llm_course.exercises.check import NotAttemptedError, examine, examine_answer

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
FUNCTIONS = [e for e in exercises.EXERCISES.values() if isinstance(e, Exercise)]
QUESTIONS = [e for e in exercises.EXERCISES.values() if isinstance(e, Question)]
MISTAKES = [(e, mistake) for e in FUNCTIONS for mistake in e.mistakes]
SEEDS = range(8)  # the slow tests go on to 100


@pytest.fixture(autouse=True)
def progress_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("LLM_COURSE_PROGRESS", str(tmp_path / "progress.json"))
    monkeypatch.delenv("LLM_COURSE_STRICT", raising=False)


@pytest.mark.parametrize("exercise", FUNCTIONS, ids=lambda e: e.name)
def test_the_reference_passes(exercise, seeds=SEEDS):
    for seed in seeds:
        result = examine(exercise, exercise.reference, seed)
        assert result.passed, result.feedback
    assert len(exercise.mistakes) >= 3 and exercise.hint


@pytest.mark.parametrize(
    ("exercise", "mistake"), MISTAKES, ids=lambda part: getattr(part, "name", part)
)
def test_every_mistake_fails_and_gets_its_own_hint(exercise, mistake, seeds=SEEDS):
    for seed in seeds:
        result = examine(exercise, mistake.wrong, seed)
        assert not result.passed and result.mistake == mistake.name
        assert result.feedback == f"{exercise.name}: {mistake.hint}"


@pytest.mark.slow
@pytest.mark.parametrize("exercise", FUNCTIONS, ids=lambda e: e.name)
def test_the_same_holds_on_a_hundred_seeds(exercise):
    test_the_reference_passes(exercise, range(len(SEEDS), 100))
    for mistake in exercise.mistakes:
        test_every_mistake_fails_and_gets_its_own_hint(exercise, mistake, range(len(SEEDS), 100))


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.name)
def test_every_option_of_a_question_has_a_reason_and_one_is_right(question):
    verdicts = {letter: examine_answer(question, letter) for letter in question.options}
    assert [letter for letter, result in verdicts.items() if result.passed] == [question.right]
    assert all(len(reason) > 20 for _, reason in question.options.values())
    assert len({result.feedback for result in verdicts.values()}) == len(question.options) >= 3
    html = exercises.ask(question.name).data
    assert html.count("<details>") == len(question.options) and "<script" not in html
    assert "`" not in html and not re.search(r"\*\w", html), "marks of Markdown stand in the HTML"
    assert html.count("Right. ") == 1


def test_questions_are_answered_with_a_letter(capsys):
    assert check("diagonal_head", " B ").passed
    assert "one letter: a, b, c, d" in check("diagonal_head", "the bigram").feedback
    assert not check("diagonal_head", ...).attempted
    exercises.show_solution("diagonal_head")
    assert "\nb: the bigram model." in capsys.readouterr().out


def test_untouched_stubs_are_not_attempted_yet(monkeypatch, capsys):
    def stub(x): ...

    def documented(x):
        """Return the means."""

    def passing(x):
        pass

    for attempt in (stub, documented, passing, lambda x: ..., ...):
        result = check("causal_means", attempt)
        assert not result.attempted and not result.passed
    assert capsys.readouterr().out == "causal_means: not attempted yet.\n" * 5
    monkeypatch.setenv("LLM_COURSE_STRICT", "1")
    with pytest.raises(NotAttemptedError, match="causal_means"):
        check("causal_means", stub)


def _changes_its_input(x):
    result = find("causal_means").reference(x)
    x.zero_()
    return result


def _looks_ahead(x):
    means = find("causal_means").reference(x)
    return means + 0.01 * x.flip(1)


def _prints(x):
    print("shape", x.shape)
    return x


def _raises(x):
    return x @ torch.ones(3, 1000)


T = 5  # as a notebook leaves it behind


class _UnspeakableError(Exception):
    def __str__(self):
        raise KeyError


def _raise(error):
    raise error


class _Object:
    def method(self, x):
        return find("causal_means").reference(x)


@pytest.mark.parametrize(
    ("attempt", "said"),
    [
        (None, "this is nothing (None), and no function"),
        (torch.ones(3), "this is a Tensor of shape (3,), and no function"),
        (_Object, "_Object is a class"),
        (lambda: 1, "must take 1 argument: (x)"),
        (lambda x, y: x, "must take 1 argument: (x)"),
        (lambda x: [][0], "raises IndexError"),
        (_raises, "return x @ torch.ones(3, 1000)"),
        (lambda x: print("hm"), "it returns None. Does it end with `return`, in every case?"),
        (lambda x: x.numpy(), "). torch.from_numpy"),
        (lambda x: 3, "should be a tensor, and is an int"),
        (lambda x: x[:, 0], "should have the shape"),
        (lambda x: x.long(), "should hold decimal numbers, and holds whole ones"),
        (lambda x: x * torch.nan, "holds nan"),
        (_changes_its_input, "changes its argument x"),
        (_looks_ahead, "sees the future"),
        (lambda x: x, "numbers differ. The first is at [0, 1, 0]"),
        (_prints, "printed: shape torch.Size"),
        (lambda x: exit(), "raises SystemExit"),
        (lambda x: x.to("meta"), "meta"),
        (lambda x: _raise(_UnspeakableError()), "raises _UnspeakableError"),
        (lambda x: x / T, "uses the notebook's T."),
        (lambda x: [][T], "uses the notebook's T."),
        (lambda x: list(x), "a list of"),
        (lambda x: torch.stack(list(x)) @ torch.ones(1, 1), "Print the shapes"),
    ],
)
def test_what_no_mistake_explains_gets_a_next_step(attempt, said):
    result = examine(find("causal_means"), attempt, seed=1)
    assert not result.passed and result.mistake is None and said in result.feedback


@pytest.mark.parametrize(
    ("turned", "said"),
    [
        (torch.tensor, r"should be a list of \d+, and is a Tensor of shape .*. .tolist\(\)"),
        (set, "and is a set. sorted makes a list"),
        (lambda kept: kept[1:], r"should be a list of \d+, and is a list of \d+.$"),
        (lambda kept: "abc"[3], r"string index out of range, in the line\n.*\S$"),
    ],
)
def test_lists_that_are_none_get_a_next_step(turned, said):
    exercise = find("without_leak")
    result = examine(exercise, lambda *inputs: turned(exercise.reference(*inputs)), seed=1)
    assert not result.passed and re.search(said, result.feedback), result.feedback


def _with_wrong_targets(tokens, starts, T):
    inputs, targets = find("windows").reference(tokens, starts, T)
    return inputs, 2 * targets


def _of_slices(tokens, starts, T):
    return torch.tensor([tokens[start : start + T] for start in starts])


def _cut_by_a_float(x, n_head):
    return x.view(*x.shape[:2], n_head, x.shape[2] / n_head)


@pytest.mark.parametrize(
    ("name", "attempt", "said"),
    [
        ("windows", lambda *of: torch.stack(find("windows").reference(*of)), r"\(2, .*\)\.$"),
        ("windows", lambda *of: {}, r"a tuple of 2, and is a dict\.$"),
        ("windows", _with_wrong_targets, r"numbers of result\[1\] differ"),
        ("windows", _of_slices, "torch.stack makes"),
        ("top_k_chances", lambda chances, k: chances.topk(k), r"is a topk of 2\.$"),
        ("fair_loss", lambda losses: losses, r"and is a Tensor of shape \(\d+, \d+\)"),
        ("split_heads", _cut_by_a_float, "whole number: //"),
        ("count_parameters", lambda *of: "1,234", r"should be \d+, and is '1,234'"),
        ("n_windows", lambda tokens, T: 3, r"for tokens = a Tensor of shape \(\d+,\), T = \d"),
    ],
)
def test_the_advice_fits_what_was_wanted(name, attempt, said):
    feedback = examine(find(name), attempt, seed=1).feedback
    assert re.search(said, feedback, re.MULTILINE), feedback


@pytest.mark.parametrize(
    "attempt",
    [
        lambda x: find("causal_means").reference(x).transpose(1, 2),
        lambda x: torch.stack([x[:, : i + 1].mean(1) for i in range(x.shape[1])]),
        lambda x: torch.nn.functional.dropout(find("causal_means").reference(x)),
    ],
)
def test_what_is_causal_is_not_said_to_see_the_future(attempt):
    assert "future" not in examine(find("causal_means"), attempt, seed=1).feedback


def test_a_missing_mask_is_noticed_through_the_keys_too():
    def unmasked(q, k):
        return (q @ k.transpose(-2, -1)).softmax(dim=-1)

    def transposed(q, k):
        return find("attention_weights").reference(q, k).transpose(1, 2)

    assert "future" in examine(find("attention_weights"), unmasked, seed=1).feedback
    assert not examine(find("attention_weights"), transposed, seed=1).passed


def test_the_inputs_that_show_the_mistake_are_handed_out():
    result = examine(find("causal_means"), lambda x: x, seed=1)
    (x,) = result.inputs
    assert f"and is {x[0, 1, 0]:.4g}" in result.feedback


def test_numbers_are_shown_so_that_they_differ_with_their_arguments():
    parameters = find("count_parameters")
    feedback = examine(
        parameters, lambda V, T, C, L: parameters.reference(V, T, C, L) + 3, 1
    ).feedback
    should, is_ = (int(n.replace(",", "")) for n in re.findall(r"[\d,]*\d", feedback)[:2])
    assert is_ - should == 3 and "That was for V = " in feedback
    rate = find("cosine_rate")
    near = examine(rate, lambda *a: rate.reference(*a) + 1e-4, 1).feedback
    assert len(set(re.findall(r"\d\.\d+", near)[:2])) == 2 and "step = " in near


def test_an_attribute_is_no_name_of_the_notebook():
    feedback = examine(find("causal_means"), lambda x: x.mT.mT, seed=1).feedback
    assert "notebook" not in feedback


def test_mistakes_that_raise_are_recognised_too():
    def without_memory(table, inputs, targets, learning_rate):
        table = table.clone()
        torch.nn.functional.cross_entropy(table[inputs].flatten(0, 1), targets.flatten()).backward()
        return table - learning_rate * table.grad

    result = examine(find("plain_step"), without_memory, seed=1)
    assert result.mistake == "memory_forgotten" and "requires_grad_()" in result.feedback


def _backwards_value(table, inputs, targets, learning_rate):
    copy = table.clone().requires_grad_()
    gradient = F.cross_entropy(copy[inputs].flatten(0, 1), targets.flatten()).backward()
    return copy.detach() - learning_rate * gradient


def test_a_gradient_that_is_none_is_told_where_it_stands():
    for attempt in (
        _backwards_value,
        lambda table, inputs, targets, rate: table - rate * table.grad,
        lambda table, inputs, targets, rate: table - table.grad * rate,
    ):
        feedback = examine(find("plain_step"), attempt, seed=1).feedback
        assert "backward() must come first; it returns nothing" in feedback


def test_numbers_may_come_as_floats_or_tensors_of_any_precision():
    loss = find("fair_loss").reference
    for attempt in (
        lambda x: loss(x).item(),
        lambda x: loss(x.double()),
        lambda x: np.float64(loss(x)),
        lambda x: np.array(loss(x).item()),
        lambda x: loss(x)[None],
    ):
        assert examine(find("fair_loss"), attempt, seed=1).passed
    means = find("causal_means").reference
    assert examine(find("causal_means"), lambda x: means(x).double(), seed=1).passed


def test_a_dictionary_is_left_alone():
    def emptied(chances):
        best = max(chances, key=chances.get)
        chances.clear()
        return best

    assert "changes its argument chances" in examine(find("most_likely"), emptied, 1).feedback


def test_a_right_answer_may_come_as_a_method_a_lambda_or_with_prints(capsys):
    reference = find("causal_means").reference

    def chatty(x):
        print("here")
        return reference(x)

    for attempt in (_Object().method, lambda x: reference(x), chatty):
        assert check("causal_means", attempt).passed
    assert "here" not in capsys.readouterr().out


def test_an_attempt_changes_nothing_for_those_after_it():
    def doubling(x):
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        return x

    examine(find("causal_means"), doubling, seed=1)
    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()


def test_layers_among_the_inputs_are_left_alone_too():
    def resetting(x, attention, feed_forward, norm1, norm2):
        result = find("block").reference(x, attention, feed_forward, norm1, norm2)
        torch.nn.init.ones_(norm1.weight)
        return result

    assert "changes its argument norm1" in examine(find("block"), resetting, seed=1).feedback


@pytest.mark.parametrize("usual", [signal.default_int_handler, signal.SIG_IGN])
def test_a_loop_that_never_ends_is_stopped(monkeypatch, request, usual):
    monkeypatch.setattr(trials, "TIME_LIMIT", 0.3)
    before = signal.signal(signal.SIGINT, usual)  # ignored: as in a process in the background
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    calls = []

    def endless(x):
        calls.append(x)
        while True:
            pass

    result = examine(find("causal_means"), endless, seed=1)
    assert "not done after 0 seconds" in result.feedback
    assert len(calls) == 1, "one trial is enough"
    assert signal.getsignal(signal.SIGINT) == usual


def test_the_learners_own_interrupt_is_not_swallowed():
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trials.within(5.0, interrupted)


def test_inputs_are_drawn_anew_and_of_different_sizes():
    for exercise in FUNCTIONS:
        trials = [exercise.draw(torch.Generator().manual_seed(s)) for s in range(20)]
        drawn = [inputs for of_a_check in trials for inputs in of_a_check]
        assert len({str(inputs) for inputs in drawn}) > 10
        shapes = {tuple(x.shape) for inputs in drawn for x in inputs if isinstance(x, torch.Tensor)}
        assert len(shapes) > 3 or not shapes
        numbers = {
            tuple(x.shape)
            for inputs in drawn
            for x in inputs
            if isinstance(x, torch.Tensor) and x.dtype != torch.bool  # a mask may be spread by a 1
        }
        assert all(1 not in shape for shape in numbers)


def test_every_notebook_has_three_to_five_exercises_one_of_them_a_question():
    stems = [path.stem for path in NOTEBOOKS]
    assert len(exercises.EXERCISES) == sum(len(module.EXERCISES) for module in exercises.NOTEBOOKS)
    for stem in stems:
        own = [e for e in exercises.EXERCISES.values() if e.notebook == stem]
        assert 3 <= len(own) <= 5 and any(isinstance(e, Question) for e in own), stem
        source = (NOTEBOOKS[0].parent / f"{stem}.ipynb").read_text(encoding="utf-8")
        for e in own:
            call = "ask" if isinstance(e, Question) else "check"
            assert f'{call}(\\"{e.name}\\"' in source, f"{e.name} does not stand in {stem}"
    assert {e.notebook for e in exercises.EXERCISES.values()} == set(stems)


def test_progress_is_kept_and_shown(capsys, monkeypatch, tmp_path):
    check("causal_means", find("causal_means").reference)
    check("attend", lambda weights, v: v)
    capsys.readouterr()
    exercises.show_progress()
    shown = capsys.readouterr().out
    assert "✓ causal_means" in shown and "· attend" in shown and "1 of 4 done" in shown
    (tmp_path / "progress.json").write_text("{damaged")
    exercises.show_progress()
    assert "0 of 4 done" in capsys.readouterr().out
    monkeypatch.setenv("LLM_COURSE_PROGRESS", "/proc/nowhere/progress.json")
    assert check("causal_means", find("causal_means").reference).passed


def test_hints_and_solutions_are_shown(capsys):
    exercises.show_hint("attend")
    assert "Row t" in capsys.readouterr().out
    exercises.show_solution("attend")
    assert "Markdown" in capsys.readouterr().out


def test_unknown_names_are_named_with_those_close_by():
    with pytest.raises(ValueError, match="no exercise 'casual_mean'. Did you mean causal_means"):
        find("casual_mean")
    with pytest.raises(ValueError, match="attend is a function to write"):
        exercises.ask("attend")


def test_numbers_and_tuples_are_compared_too():
    exercise = Exercise(
        name="pair",
        notebook="none",
        minutes=1,
        difficulty=1,
        reference=lambda x: (x.mean().item(), 2 * x),
        inputs=lambda g: (torch.randn(4, generator=g),),
        hint="",
    )
    assert examine(exercise, lambda x: [x.mean(), x + x], 0).passed
    assert examine(exercise, lambda x: (np.float64(x.mean()), x + x), 0).passed
    assert (
        "should be a tuple of 2, and is a tuple of 1."
        in examine(exercise, lambda x: (x,), 0).feedback
    )
    assert "should be a tuple of 2, and is a" in examine(exercise, lambda x: x.mean(), 0).feedback
    assert (
        "result[1] should have the shape"
        in examine(exercise, lambda x: (x.mean(), x[0]), 0).feedback
    )
    assert "the result[0] should be" in examine(exercise, lambda x: (x.sum(), 2 * x), 0).feedback


def test_lists_of_tensors_and_whole_numbers_are_compared(monkeypatch):
    def draw(generator):
        return [torch.randint(1000, (n, 3), generator=generator) for n in (4, 5)], 1

    exercise = Exercise("parts", "00", 1, 1, lambda parts, n: parts[n] + 1, draw, "Add one.")
    exercise.mistake("one is taken off.")(lambda parts, n: parts[n] - 1)

    def changes(parts, n):
        parts[n] += 1
        return parts[n]

    assert examine(exercise, lambda parts, n: parts[n] + 1).passed
    assert "one is taken off" in examine(exercise, lambda parts, n: parts[n] - 1).feedback
    assert "changes its argument parts" in examine(exercise, changes).feedback


def test_feedback_is_printed_in_lines_that_end_between_words(capsys):
    exercise = find("causal_means")
    longest = max(exercise.mistakes, key=lambda mistake: len(mistake.hint))
    result = check("causal_means", longest.wrong)
    exercises.show_hint("causal_means")
    printed = capsys.readouterr().out
    assert len(result.feedback) > 100 and max(map(len, printed.splitlines())) <= 90
    assert printed.split() == f"{result.feedback} {exercise.hint}".split()
