import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from llm_course import recorded
from llm_course.__main__ import main
from llm_course.checkpoint import load_checkpoint
from llm_course.data import get_batch
from llm_course.evaluation import evaluate
from llm_course.recipes import RECIPES
from llm_course.training import DivergedError, History


def command(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "llm_course", *arguments],
        cwd=cwd, env=os.environ | {"PYTHONPATH": ""}, capture_output=True, text=True,
    )  # fmt: skip


@pytest.fixture
def own_text(away):
    file = away / "my own.txt"
    file.write_text("the cat sat on the mat; the dog sat on the log.\n" * 200, encoding="utf-8")
    return file


def test_train_evaluate_generate(own_text, away, capsys):
    assert main(["train", "bigram", "--text", str(own_text), "--steps", "200"]) == 0
    trained = capsys.readouterr().out
    loss = re.search(r"validation loss (\d\.\d{3}) nats", trained)[1]
    assert float(loss) < 1.5
    assert (away / "runs" / "bigram-my-own.safetensors").exists()
    assert "A sample:\n" in trained

    assert main(["evaluate", "--text", str(own_text)]) == 0
    assert f"validation loss {loss} nats" in capsys.readouterr().out

    assert main(["generate", "--prompt", "the c", "--length", "40"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("the c") and len(text) == 5 + 40 + 1
    main(["generate", "--prompt", "the c", "--length", "40", "--seed", "1"])
    assert capsys.readouterr().out != text


def test_the_latest_model_is_taken(own_text, capsys):
    for name, seed in (("one", "1"), ("two", "2")):
        main(
            [
                "train",
                "bigram",
                "--text",
                str(own_text),
                "--steps",
                "2",
                "--out",
                f"runs/{name}.safetensors",
                "--seed",
                seed,
            ]
        )
    os.utime("runs/one.safetensors")
    os.utime("runs/two.safetensors", (0, 0))
    capsys.readouterr()
    main(["generate", "--length", "5"])
    latest = capsys.readouterr().out
    main(["generate", "--length", "5", "--model", "runs/one.safetensors"])
    assert capsys.readouterr().out == latest


def test_before_any_training_the_courses_own_decoder_writes_and_says_so(away, capsys):
    assert main(["generate", "--prompt", "ROMEO:", "--length", "30"]) == 0
    said = capsys.readouterr()
    assert "decoder that ships with the course" in said.err
    assert said.out.startswith("ROMEO:") and len(said.out) == 6 + 30 + 1


def test_subwords_train_go_on_evaluate_and_write(own_text, capsys):
    train = ["train", "bigram", "--text", str(own_text), "--steps", "3"]
    assert main(["train", "bigram", "--text", str(own_text), "--steps", "2"]) == 0
    assert main([*train, "--subwords", "260"]) == 0
    trained = capsys.readouterr().out
    assert "260 subwords" in trained
    path = Path("runs", "bigram-my-own-260-subwords.safetensors")
    assert path.exists()
    assert main(["evaluate", "--model", str(path), "--text", str(own_text)]) == 0
    measured = re.search(r"validation loss ([\d.]+) nats per character", capsys.readouterr().out)[1]
    assert f"validation loss {measured} nats per character" in trained
    model, tokenizer, about = load_checkpoint(path)
    val_text = own_text.read_text()[int(0.9 * len(own_text.read_text())) :]
    tokens = tokenizer.encode(val_text)
    loss = evaluate(model, tokens) * len(tokens) / len(val_text)
    assert float(measured) == pytest.approx(loss, abs=6e-4)
    assert float(about["loss"]) == pytest.approx(loss, abs=6e-5)
    assert main(["generate", "--model", str(path), "--prompt", "é", "--length", "5"]) == 0
    assert capsys.readouterr().out.startswith("é")  # no character is unknown to bytes


def test_too_few_subwords_are_refused(own_text, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "bigram", "--text", str(own_text), "--subwords", "255"])
    assert stopped.value.code == 2
    assert "a whole number from 256 on, not '255'" in capsys.readouterr().err


@pytest.mark.slow
def test_every_rung_trains_and_writes(own_text, capsys):
    for name in RECIPES:
        arguments = ["train", name, "--text", str(own_text), "--steps", "1"]
        assert main(arguments) == 0
        assert "validation loss " in capsys.readouterr().out
        assert main(["generate", "--prompt", "the c", "--length", "70", "--top-k", "3"]) == 0
        assert capsys.readouterr().out.startswith("the c")


def test_the_loss_told_after_training_is_that_of_the_whole_validation_text(
    own_text, monkeypatch, capsys
):
    estimated = History(steps=[9999], tokens=[0], seconds=[1.0], train_loss=[9.0], val_loss=[9.0])
    monkeypatch.setattr("llm_course.commands.train", lambda *arguments, **options: estimated)
    main(["train", "bigram", "--text", str(own_text)])
    told = re.search(r"validation loss (\d\.\d{3}) nats", capsys.readouterr().out)[1]
    main(["evaluate", "--text", str(own_text)])
    assert f"validation loss {told} nats" in capsys.readouterr().out
    assert told != "9.000"


def test_the_dials_reach_the_sampler(own_text, capsys):
    main(["train", "bigram", "--text", str(own_text), "--steps", "50"])
    capsys.readouterr()

    def written(*dials):
        main(["generate", "--prompt", "the c", *dials])
        return capsys.readouterr().out

    greedy = written("--top-k", "1")
    assert written("--top-p", "0.01") == written("--temperature", "0.001") == greedy
    assert written() != greedy


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["generate", "--model", "nowhere"], "There is no model file nowhere"),
        (["train", "bigram", "--text", "nowhere.txt"], "There is no file nowhere.txt"),
        (["data"], "LLM_COURSE_OFFLINE"),
        (["data", "--to", "somewhere"], "LLM_COURSE_OFFLINE"),
    ],
)
def test_errors_are_one_line(away, capsys, arguments, complaint):
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and complaint in said
    assert said.count("\n") == 1


@pytest.mark.slow
def test_requests_that_do_not_fit_the_model(own_text, capsys):
    main(["train", "bigram", "--text", str(own_text), "--steps", "2"])
    for arguments, complaint in [
        (["generate", "--prompt", "ROMEO:"], "character 'R' (U+0052) at position 0"),
        (["generate", "--prompt", ""], "empty prompt"),
        (["generate", "--temperature", "0"], "temperature must be above 0"),
        (["generate", "--top-p", "1.5"], "top_p must lie above 0"),
        (["evaluate"], "is not in the vocabulary"),
    ]:
        assert main(arguments) == 2
        assert complaint in capsys.readouterr().err


def test_a_text_too_short_to_learn_from(away, capsys):
    (away / "short.txt").write_text("ab")
    assert main(["train", "bigram", "--text", "short.txt"]) == 2
    assert "error: " in capsys.readouterr().err


def test_unknown_words_are_refused_with_the_choices(away, capsys):
    for arguments in (["train", "trigram"], ["train", "bigram", "--steps", "-1"], []):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
    assert "whole number from 1 on" in capsys.readouterr().err


def test_the_scoreboard_shows_what_was_recorded(monkeypatch, tmp_path, capsys):
    row = {"model": "a table", "loss": 2.0, "parameters": 1234, "seconds": 0.5}
    made = {"date": "2026-01-01", "command": "make results", "machine": "one", "corpus": "a text"}
    monkeypatch.setattr("llm_course.commands.beyond_part_one", lambda: [])
    file = tmp_path / "scoreboard.json"
    monkeypatch.setattr(recorded, "RESULTS", tmp_path)
    assert main(["scoreboard"]) == 2
    assert "make results" in capsys.readouterr().err
    file.write_text(json.dumps({"made": made, "rows": [row]}))
    assert main(["scoreboard"]) == 0
    shown = capsys.readouterr().out
    assert "2026-01-01" in shown and re.search(r"a table +1,234 +0\.5 +2\.000 +2\.89 +7\.4", shown)


def test_as_a_process(away):
    helped = command("--help", cwd=away)
    assert helped.returncode == 0 and "train bigram" in helped.stdout
    failed = command("generate", "--model", "nowhere", cwd=away)
    assert failed.returncode == 2
    assert "Traceback" not in failed.stderr and failed.stderr.startswith("error: ")


def test_a_reader_who_leaves_early_is_no_error(away):
    (away / "own.txt").write_text("to be or not to be\n" * 100)
    train = [sys.executable, "-m", "llm_course", "train", "bigram", "--text", "own.txt"]
    with subprocess.Popen(
        train, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=away
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""


def test_the_seed_decides_the_training(own_text, away, capsys):
    def trained(seed):
        main(["train", "bigram", "--text", str(own_text), "--steps", "5", "--seed", seed])
        return capsys.readouterr().out

    assert trained("1").split("sample:")[1] != trained("2").split("sample:")[1]
    # From the same first weights, other batches: the seed reaches the training too.
    losses = {re.search(r"loss (\S+)", trained(seed))[1] for seed in "12"}
    assert len(losses) == 2


def test_what_is_saved_tells_how_good_it_is(own_text, away, capsys):
    main(["train", "bigram", "--text", str(own_text), "--steps", "200"])
    loss = re.search(r"validation loss (\S+) nats", capsys.readouterr().out)[1]
    about = load_checkpoint(away / "runs" / "bigram-my-own.safetensors").about
    assert about["corpus"] == "my own" and about["steps"] == "200"
    assert float(about["loss"]) == pytest.approx(float(loss), abs=6e-4)


def test_a_console_without_the_sign_shows_a_question_mark(away):
    (away / "own.txt").write_text("naïve café\n" * 100, encoding="utf-8")
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    train = [
        sys.executable,
        "-m",
        "llm_course",
        "train",
        "bigram",
        "--text",
        "own.txt",
        "--steps",
        "2",
    ]
    done = subprocess.run(train, cwd=away, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""


def test_stopping_is_no_error_with_a_traceback(own_text, monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("llm_course.commands.train", interrupted)
    assert main(["train", "bigram", "--text", str(own_text)]) == 130
    assert "stopped" in capsys.readouterr().err


def test_numbers_that_are_none_are_refused(own_text, capsys):
    main(["train", "bigram", "--text", str(own_text), "--steps", "2"])
    for temperature in ("nan", "1e-45"):
        assert main(["generate", "--temperature", temperature]) == 2
        assert capsys.readouterr().err.startswith("error: ")


def test_a_text_without_line_ends_is_sampled_too(away, capsys):
    (away / "one line.txt").write_text("a text without a line end, " * 50)
    assert main(["train", "bigram", "--text", "one line.txt", "--steps", "2"]) == 0
    assert main(["generate", "--length", "5"]) == 0


def test_data_does_not_vouch_for_a_damaged_file(away, monkeypatch, capsys):
    (away / "tiny_shakespeare.txt").write_text("First Citizen")
    monkeypatch.setenv("LLM_COURSE_DATA", str(away))
    assert main(["data"]) == 2
    assert "cut short" in capsys.readouterr().err


def test_a_bad_place_is_told_before_training(own_text, away, capsys):
    assert main(["train", "bigram", "--text", str(own_text), "--out", str(away)]) == 2
    said = capsys.readouterr()
    assert "--out" in said.err and "step" not in said.out


def test_closed_outputs_are_no_error(own_text, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["train", "bigram", "--text", str(own_text), "--steps", "2"]) == 0
    sys.stdout.close()


WRONG = {  # every argument there is, wrong once
    "": "arguments are required: COMMAND",
    "fly": "invalid choice: 'fly'",
    "--seed 1": "",
    "data --to": "expected one argument",
    "data more": "unrecognized arguments: more",
    "train": "arguments are required: model",
    "train trigram": "invalid choice: 'trigram'",
    "train bigram --steps 0": "whole number from 1 on, not '0'",
    "train bigram --steps many": "whole number from 1 on, not 'many'",
    "train bigram --seed -1": "whole number from 0 on, not '-1'",
    "train bigram --seed 99999999999999999999": "at most",
    "train bigram --text nowhere.txt": "There is no file nowhere.txt",
    "train bigram --text .": "is a folder",
    "train bigram --text {binary}": "is not UTF-8",
    "train bigram --text {file} --out .": "is not a plain file",
    "train bigram --text {file} --out {file}/model": "could not be written",
    "train bigram --text {file} --history {file}/h.json": "(on the command line: --history)",
    "train bigram --resume=yes": "ignored explicit argument 'yes'",
    "evaluate --model nowhere": "There is no model file nowhere",
    "evaluate --model {file}": "is not a model of this course",
    "evaluate --text nowhere.txt": "There is no file nowhere.txt",
    "generate --model {binary}": "is not a model of this course",
    "generate --prompt €": "character '€' (U+20AC) at position 0",
    "generate --length 0": "whole number from 1 on, not '0'",
    "generate --length 1.5": "whole number from 1 on, not '1.5'",
    "generate --temperature 0": "temperature must be above 0",
    "generate --temperature -1": "temperature must be above 0",
    "generate --temperature 1e999": "temperature must be above 0",
    "generate --temperature warm": "invalid float value: 'warm'",
    "generate --top-k 0": "whole number from 1 on, not '0'",
    "generate --top-p 0": "top_p must lie above 0",
    "generate --top-p 1.1": "top_p must lie above 0",
    "generate --top-p half": "invalid float value: 'half'",
    "generate --seed x": "whole number from 0 on, not 'x'",
    "scoreboard --all": "unrecognized arguments: --all",
}


@pytest.mark.parametrize(("line", "complaint"), WRONG.items())
def test_every_argument_wrong_once_is_one_line_and_status_2(own_text, capsys, line, complaint):
    own_text.rename("own.txt")
    Path("binary").write_bytes(bytes(range(256)))
    line = line.replace("{file}", "own.txt").replace("{binary}", "binary")
    try:
        status = main(line.split())
    except SystemExit as stopped:
        status = stopped.code
    said = [text for text in capsys.readouterr().err.splitlines() if not text.startswith("Note: ")]
    assert status == 2 and len(said) == 1
    assert said[0].startswith("error: ") and complaint in said[0]


def test_huge_numbers_are_one_line_that_keeps_the_name_of_the_error(own_text, monkeypatch, capsys):
    def overflows(*arguments, **options):
        raise OverflowError("int too large to convert to float")  # a learning rate of 400 digits

    def said():
        return capsys.readouterr().err.splitlines()[-1]

    train = ["train", "bigram", "--text", str(own_text), "--set", "eval_windows=1"]
    for arguments in (
        ["generate", "--length", "9" * 18],
        [*train, "--set", f"batch_size={10**15}"],
    ):
        assert main(arguments) == 2
        assert re.fullmatch(r"error: RuntimeError: .* memory.*; if .* try a smaller one", said())
    monkeypatch.setattr("llm_course.commands.train", overflows)
    assert main(train) == 2
    assert said().startswith("error: OverflowError: int too large to convert to float; if ")


def test_an_empty_prompt_is_an_error(own_text, capsys):
    assert main(["generate", "--prompt", ""]) == 2
    assert "empty prompt" in capsys.readouterr().err


def test_stopping_a_training_keeps_it(own_text, away, monkeypatch, capsys):
    whole = ["train", "block", "--text", str(own_text), "--steps", "400"]
    assert main([*whole, "--out", "runs/whole.safetensors"]) == 0
    draws = []

    def interrupted(*arguments):
        draws.append(1)
        if len(draws) == 200:
            raise KeyboardInterrupt
        return get_batch(*arguments)

    monkeypatch.setattr("llm_course.training.get_batch", interrupted)
    stopped = [*whole, "--out", "runs/stopped.safetensors"]
    assert main(stopped) == 130
    said = capsys.readouterr()
    assert "Stopped in step 200 of 400" in said.out and "--resume" in said.err
    assert not (away / "runs" / "stopped.safetensors").exists()
    assert main(stopped) == 2
    assert "step 150 of 400" in capsys.readouterr().err
    assert main([*stopped, "--resume"]) == 0
    one, other = (
        load_checkpoint(f"runs/{name}.safetensors").model.state_dict()
        for name in ("whole", "stopped")
    )
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert not list((away / "runs").glob("*.training*"))


def test_the_progress_of_a_training_has_a_name_of_its_own(own_text, away, capsys):
    train = ["train", "bigram", "--text", str(own_text), "--steps", "2", "--out"]
    assert main([*train, "mine.training"]) == 0
    assert load_checkpoint(away / "mine.training").about["steps"] == "2"
    (away / "lr0.training").write_text("what another training, lr0, has kept")
    assert main([*train, "lr0.01"]) == 0
    assert (away / "lr0.training").exists()


def test_a_model_that_was_there_is_kept(own_text, away, capsys):
    for steps in ("1", "2"):
        main(["train", "bigram", "--text", str(own_text), "--steps", steps])
    assert "kept as bigram-my-own.safetensors.previous" in capsys.readouterr().err
    kept = away / "runs" / "bigram-my-own.safetensors.previous"
    assert load_checkpoint(kept).about["steps"] == "1"


def test_a_loss_that_is_no_number_is_one_line(own_text, monkeypatch, capsys):
    def diverges(*arguments, **options):
        raise DivergedError("the loss is nan in step 3")

    monkeypatch.setattr("llm_course.commands.train", diverges)
    assert main(["train", "bigram", "--text", str(own_text)]) == 2
    assert capsys.readouterr().err == "error: the loss is nan in step 3\n"
