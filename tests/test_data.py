import contextlib
import errno
import hashlib
import http.server
import os
import subprocess
import sys
import threading
import time

import pytest
import torch

from llm_course import download
from llm_course.data import get_batch, load_corpus, split
from llm_course.download import FILE_NAME, CorpusError, copy_corpus, locate

FAKE = b"First Citizen:\nA stand-in for the corpus, so that no test needs the real one.\n" * 20


@pytest.fixture
def fake(monkeypatch):
    """Let FAKE be the text that counts as Tiny Shakespeare."""
    monkeypatch.setattr(download, "SHA256", hashlib.sha256(FAKE).hexdigest())
    monkeypatch.setattr(download, "SIZE", len(FAKE))
    return FAKE


@pytest.fixture
def server(away, fake, monkeypatch):
    """A web server on this machine in place of the real one; its `answer` can be changed."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            here.requests += 1
            if here.failures:
                here.failures -= 1
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(here.promised or len(here.answer)))
            self.end_headers()
            for start in range(0, len(here.answer), 100):
                self.wfile.write(here.answer[start : start + 100])
                here.sent += 100
                time.sleep(here.drip)

        def log_message(self, *arguments):
            pass

        def handle(self):
            with contextlib.suppress(OSError):  # the client has left
                super().handle()

    here = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here.daemon_threads = True
    here.answer, here.requests, here.failures = fake, 0, 0
    here.promised, here.drip, here.sent = None, 0.0, 0
    threading.Thread(target=here.serve_forever, daemon=True).start()
    monkeypatch.setattr(download, "URL", f"http://127.0.0.1:{here.server_port}/input.txt")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.delenv("LLM_COURSE_OFFLINE")
    yield here
    here.shutdown()
    here.server_close()


@pytest.fixture
def folder(away, fake, monkeypatch):
    """A folder with the file, named by LLM_COURSE_DATA."""
    (away / "data").mkdir()
    (away / "data" / FILE_NAME).write_bytes(fake)
    monkeypatch.setenv("LLM_COURSE_DATA", str(away / "data"))
    return away / "data"


def test_the_named_folder_comes_first(folder):
    corpus = load_corpus()
    assert (corpus.name, corpus.text) == ("Tiny Shakespeare", FAKE.decode())
    assert corpus.source == str(folder / FILE_NAME)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (FAKE[:500], "cut short: 500 bytes of"),
        (b"", "cut short: 0 bytes of"),
        (FAKE.replace(b"\n", b"\r\n"), "CRLF"),
        (FAKE.replace(b"stand", b"stood"), "SHA-256"),
        (b"\xff" * len(FAKE), "SHA-256"),
    ],
)
def test_a_damaged_copy_is_named_with_reason_and_remedy(folder, content, reason):
    file = folder / FILE_NAME
    file.write_bytes(content)
    with pytest.raises(CorpusError, match=reason) as caught:
        load_corpus()
    assert str(file) in str(caught.value)
    assert f"python -m llm_course data --to {folder}" in str(caught.value)


def test_a_folder_without_the_file_is_told_and_passed_over(away, monkeypatch, capsys):
    monkeypatch.setenv("LLM_COURSE_DATA", str(away / "nowhere"))
    assert load_corpus().name == "Practice corpus"
    notes = capsys.readouterr().err
    assert "nowhere, which holds no tiny_shakespeare.txt" in notes
    assert "This runs on the practice corpus" in notes


def test_download_goes_to_the_cache_and_is_not_repeated(server, away):
    assert load_corpus().text == FAKE.decode()
    assert (away / "cache" / FILE_NAME).read_bytes() == FAKE
    load_corpus()
    assert server.requests == 1


def test_a_damaged_cache_is_fetched_anew(server, away):
    (away / "cache").mkdir()
    (away / "cache" / FILE_NAME).write_bytes(FAKE[:100])
    assert load_corpus().text == FAKE.decode()


def test_one_failure_is_tried_again_at_once(server):
    server.failures = 1
    assert load_corpus().text == FAKE.decode()
    assert server.requests == 2


def test_a_failed_download_is_remembered_for_a_while(server, away, capsys):
    server.failures = 99
    assert load_corpus().name == "Practice corpus"
    tried = server.requests
    assert "503" in capsys.readouterr().err
    assert load_corpus().name == "Practice corpus"
    assert server.requests == tried
    assert "failed 0 minutes ago" in capsys.readouterr().err
    server.failures = 0
    an_age_ago = time.time() - download.FORGET_AFTER - 1
    os.utime(away / "cache" / "download_failed.txt", (an_age_ago, an_age_ago))
    assert load_corpus().name == "Tiny Shakespeare"
    assert not (away / "cache" / "download_failed.txt").exists()


def test_asking_for_the_data_tries_again_at_once(server):
    server.failures = 99
    load_corpus()
    server.failures = 0
    assert locate(try_again=True).read_bytes() == FAKE


def test_what_takes_too_long_is_left(away, monkeypatch, capsys):
    monkeypatch.delenv("LLM_COURSE_OFFLINE")
    monkeypatch.setattr(download, "TIME_LIMIT", 0.2)
    monkeypatch.setattr(download, "_download", lambda cache: time.sleep(2))
    assert load_corpus().name == "Practice corpus"
    assert "no answer within" in capsys.readouterr().err


def test_a_login_page_in_place_of_the_file_is_an_error(server, away):
    server.answer = b"<html>Please log in</html>"
    with pytest.raises(CorpusError, match="login page") as caught:
        load_corpus()
    assert download.URL in str(caught.value)
    assert "LLM_COURSE_OFFLINE=1" in str(caught.value)
    assert not (away / "cache" / FILE_NAME).exists()


def test_no_space_is_an_error_and_no_permission_a_note(server, away, monkeypatch, capsys):
    def fail_with(number):
        def fail(cache):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(download, "_download", fail)

    fail_with(errno.ENOSPC)
    with pytest.raises(CorpusError, match="no space is left") as caught:
        load_corpus()
    assert str(away / "cache") in str(caught.value)
    fail_with(errno.EACCES)
    assert load_corpus().name == "Practice corpus"
    assert "Permission denied" in capsys.readouterr().err


def test_offline_never_asks_the_network(server, monkeypatch):
    monkeypatch.setenv("LLM_COURSE_OFFLINE", "1")
    assert load_corpus().name == "Practice corpus"
    assert server.requests == 0


def test_copy_for_a_class(folder, tmp_path):
    target = copy_corpus(tmp_path / "for" / "class")
    assert target == tmp_path / "for" / "class" / FILE_NAME
    assert target.read_bytes() == FAKE
    assert [file.name for file in target.parent.iterdir()] == [FILE_NAME]


def test_copy_needs_the_real_text_and_a_place(away, folder, monkeypatch):
    (away / "file").write_text("in the way")
    with pytest.raises(CorpusError, match="could not be written"):
        copy_corpus(away / "file")
    monkeypatch.delenv("LLM_COURSE_DATA")
    with pytest.raises(ConnectionError, match="LLM_COURSE_OFFLINE"):
        copy_corpus(away / "class")


def test_own_text(tmp_path):
    file = tmp_path / "diary.txt"
    file.write_bytes("\ufeffDear diary,\r\nça va?\r".encode())
    corpus = load_corpus(file)
    assert (corpus.name, corpus.text) == ("diary", "Dear diary,\nça va?\n")
    assert load_corpus(str(file)) == corpus


def test_own_text_that_cannot_be_used(tmp_path):
    file = tmp_path / "own.txt"
    for content, reason in [(b"caf\xe9", "byte 0xe9 at position 3"), (b"", "is empty")]:
        file.write_bytes(content)
        with pytest.raises(CorpusError, match=reason) as caught:
            load_corpus(file)
        assert str(file) in str(caught.value)
    with pytest.raises(CorpusError, match="no file"):
        load_corpus(tmp_path / "missing.txt")
    with pytest.raises(CorpusError, match="is a folder"):
        load_corpus(tmp_path)


def test_split_is_contiguous_and_complete():
    train, val = split(torch.arange(1005))
    assert len(train) == 904
    assert torch.equal(torch.cat([train, val]), torch.arange(1005))
    with pytest.raises(ValueError, match="between 0 and 1"):
        split(torch.arange(10), 1.0)


def test_targets_are_the_inputs_one_later(generator):
    tokens = torch.arange(100)
    inputs, targets = get_batch(tokens, 5, 7, generator)
    assert inputs.shape == targets.shape == (5, 7)
    assert torch.equal(targets, inputs + 1)
    assert torch.equal(inputs[:, 1:], inputs[:, :-1] + 1)


def test_every_window_is_equally_likely(generator):
    # 13 tokens, windows of 3: they begin at 0 … 9. Chi-squared with 9 degrees of freedom: 27.9 at 0.1 %.
    n_draws = 20_000
    inputs, targets = get_batch(torch.arange(13), n_draws, 3, generator)
    counts = torch.bincount(inputs[:, 0], minlength=10)
    assert len(counts) == 10 and targets.max() == 12
    expected = n_draws / 10
    assert ((counts - expected) ** 2 / expected).sum() < 27.9


def test_the_generator_alone_decides_the_batch():
    def draw(seed):
        return get_batch(torch.arange(500), 4, 8, torch.Generator().manual_seed(seed))[0]

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_too_few_tokens_for_a_window(generator):
    inputs, _ = get_batch(torch.arange(9), 2, 8, generator)
    assert torch.equal(inputs[0], torch.arange(8))
    with pytest.raises(ValueError, match="8 tokens are too few for a window of 8 .* at least 9"):
        get_batch(torch.arange(8), 2, 8, generator)


def test_the_real_file_is_the_real_file(tiny_shakespeare):
    assert len(tiny_shakespeare) == download.SIZE == 1_115_394
    assert len(set(tiny_shakespeare)) == 65


def test_the_address_and_the_limits_are_as_announced():
    assert download.URL.startswith("https://") and download.URL.endswith(
        "/tinyshakespeare/input.txt"
    )
    assert download.TIME_LIMIT <= 30 and 60 <= download.FORGET_AFTER <= 7200


def test_a_failure_from_the_future_is_not_believed(server, away):
    server.failures = 99
    load_corpus()
    server.failures = 0
    os.utime(away / "cache" / "download_failed.txt", (time.time() + 9999,) * 2)
    assert load_corpus().name == "Tiny Shakespeare"


def test_the_reason_of_a_failure_is_remembered_too(server, capsys):
    server.failures = 99
    load_corpus()
    capsys.readouterr()
    load_corpus()
    assert "503" in capsys.readouterr().err


def test_nobody_answers(server, away, capsys):
    server.shutdown()
    server.server_close()
    assert load_corpus().name == "Practice corpus"
    assert "the server cannot be reached" in capsys.readouterr().err


def test_the_home_folder_may_be_written_as_a_tilde(folder, away, monkeypatch):
    monkeypatch.setenv("HOME", str(away))
    monkeypatch.setenv("USERPROFILE", str(away))
    monkeypatch.setenv("LLM_COURSE_DATA", "~/data")
    assert load_corpus().text == FAKE.decode()
    assert copy_corpus("~/class") == away / "class" / FILE_NAME


def test_a_damaged_copy_is_not_handed_around(folder, tmp_path):
    (folder / FILE_NAME).write_bytes(FAKE[:100])
    with pytest.raises(CorpusError, match="cut short"):
        copy_corpus(tmp_path / "class")
    assert not (tmp_path / "class").exists()


@pytest.mark.parametrize("proxy", ["socks5h://127.0.0.1:1", "http://"])
def test_a_proxy_that_does_not_work_is_no_network(server, monkeypatch, capsys, proxy):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, proxy)
    assert load_corpus().name == "Practice corpus"
    assert "the download failed" in capsys.readouterr().err


def test_a_damaged_cache_is_told(away, fake, capsys):
    (away / "cache").mkdir()
    (away / "cache" / FILE_NAME).write_bytes(FAKE[:100])
    assert load_corpus().name == "Practice corpus"
    assert "is damaged" in capsys.readouterr().err


def test_more_than_the_file_is_refused_and_leaves_nothing(server, away):
    server.answer = FAKE * 10_000
    with pytest.raises(CorpusError, match="its size or its SHA-256"):
        load_corpus()
    assert list((away / "cache").iterdir()) == []
    assert server.sent < len(server.answer) / 2  # it was not even fetched


def test_a_slow_server_leaves_nothing_half_done(server, away, monkeypatch):
    monkeypatch.setattr(download, "TIME_LIMIT", 0)
    with pytest.raises(TimeoutError, match="not all was sent"):
        download._download(away / "cache")
    assert list((away / "cache").iterdir()) == []


DOWNLOAD = """
import sys
from llm_course import download
download.URL, download.SHA256, download.SIZE = sys.argv[1], sys.argv[2], int(sys.argv[3])
print("begins", flush=True)
print(download.locate())
"""


def kernel(server):
    """Start a process that downloads, as a notebook's kernel does."""
    arguments = [download.URL, download.SHA256, str(download.SIZE)]
    process = subprocess.Popen(
        [sys.executable, "-c", DOWNLOAD, *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "begins\n"
    return process


@pytest.mark.slow
def test_two_kernels_at_once_and_one_that_dies(server, away):
    """Each has a temporary file of its own; the last one to end puts its whole file there."""
    server.drip = 0.05
    dying, *others = [kernel(server) for _ in range(3)]
    while server.requests < 3:
        time.sleep(0.01)
    dying.kill()
    dying.communicate()
    file = away / "cache" / FILE_NAME
    while any(process.poll() is None for process in others):
        assert not file.exists() or file.read_bytes() == FAKE, "half a file was there"
        time.sleep(0.01)
    for process in others:
        assert process.communicate(timeout=60)[0].strip() == str(file)
        assert process.returncode == 0
    assert file.read_bytes() == FAKE
    assert load_corpus().text == FAKE.decode()


def test_a_connection_that_breaks_is_no_corpus(server, away, capsys):
    server.promised = len(FAKE)
    server.answer = FAKE[:700]
    assert load_corpus().name == "Practice corpus"
    assert "the download failed" in capsys.readouterr().err
    assert not (away / "cache" / FILE_NAME).exists()
