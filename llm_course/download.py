"""Getting Tiny Shakespeare onto this machine, and telling what is wrong with a file."""

import contextlib
import errno
import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pooch
import requests

FILE_NAME = "tiny_shakespeare.txt"
SIZE = 1_115_394  # bytes
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"

TIME_LIMIT = 20.0  # seconds for the whole download, retry included
FORGET_AFTER = 3600.0  # seconds for which a failed download is not tried again


class CorpusError(RuntimeError):
    """A text that cannot be used; the message names the file, the reason and the remedy."""


def locate(*, try_again: bool = False) -> Path:
    """Return the path of Tiny Shakespeare, from the first of these places that has it.

    The folder that LLM_COURSE_DATA names, the user's cache (the folder that LLM_COURSE_CACHE names, where
    it is set), the network (unless LLM_COURSE_OFFLINE=1). Raises ConnectionError where none has it. A
    failed download is remembered for an hour, so that each notebook need not wait for it, unless
    `try_again` is set.
    """
    folder = os.environ.get("LLM_COURSE_DATA")
    if folder:
        file = Path(folder).expanduser() / FILE_NAME
        if file.exists():
            return file
        note(f"LLM_COURSE_DATA names {folder}, which holds no {FILE_NAME}; looking elsewhere.")
    cache = Path(os.environ.get("LLM_COURSE_CACHE") or pooch.os_cache("llm_course"))
    file, failure = cache / FILE_NAME, cache / "download_failed.txt"
    if file.exists():
        if _sha256(read_file(file)) == SHA256:
            return file
        note(f"{file} is damaged; it is passed over and replaced by the next download.")
    if os.environ.get("LLM_COURSE_OFFLINE", "0") not in ("", "0"):
        raise ConnectionError("LLM_COURSE_OFFLINE is set, so that nothing was downloaded.")
    age = time.time() - failure.stat().st_mtime if failure.exists() else FORGET_AFTER
    if not try_again and 0 <= age < FORGET_AFTER:
        reason = failure.read_text(encoding="utf-8", errors="replace")
        raise ConnectionError(
            f"the download failed {age / 60:.0f} minutes ago ({reason}). "
            "`python -m llm_course data` tries again at once."
        )
    try:
        _within(TIME_LIMIT, lambda: _download(cache))
    except OSError as error:  # requests' errors and time-outs too
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CorpusError(
                f"{file} could not be written: no space is left there. Free about 2 MB, or set "
                "LLM_COURSE_DATA to a folder that holds the file."
            ) from error
        with contextlib.suppress(OSError):  # a cache that can't be written remembers nothing
            failure.write_text(_reason(error), encoding="utf-8")
        raise ConnectionError(f"the download failed ({_reason(error)}).") from error
    except ValueError as error:  # too much was sent, or pooch found a wrong hash
        raise CorpusError(
            f"What {URL} sent is not Tiny Shakespeare: its size or its SHA-256 is wrong. Perhaps a "
            "login page of this network answered in its place: log in and run this again, or set "
            "LLM_COURSE_OFFLINE=1 to work on the practice corpus."
        ) from error
    failure.unlink(missing_ok=True)
    return file


def copy_corpus(folder: str | Path) -> Path:
    """Write Tiny Shakespeare into `folder`, for a class without network, and return its path."""
    data = read_tiny_shakespeare(locate(try_again=True))
    target = Path(folder).expanduser() / FILE_NAME
    partial = target.with_name(f"{FILE_NAME}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise CorpusError(
            f"{target} could not be written: {error.strerror or error}. "
            "Choose a folder that you may write to, with 2 MB free."
        ) from error
    return target


def read_tiny_shakespeare(file: Path) -> bytes:
    """Return the bytes of a copy of Tiny Shakespeare, or say what is wrong with it."""
    data = read_file(file)
    if _sha256(data) == SHA256:
        return data
    if b"\r\n" in data:
        what = "its line ends were changed to those of Windows (CRLF)"
    elif len(data) < SIZE:
        what = f"it is cut short: {len(data):,} bytes of {SIZE:,}"
    else:
        what = f"its SHA-256 is {_sha256(data)[:12]}…, not {SHA256[:12]}…"
    raise CorpusError(
        f"{file} is not Tiny Shakespeare as published: {what}. "
        f"Delete it and run `python -m llm_course data --to {file.parent}`, or copy it again."
    )


def read_file(file: Path) -> bytes:
    """Return the bytes of a file; CorpusError says why it cannot be read."""
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise CorpusError(f"There is no file {file}. Check the path.") from error
    except IsADirectoryError as error:
        raise CorpusError(f"{file} is a folder. Give the path of one text file.") from error
    except OSError as error:
        raise CorpusError(
            f"{file} cannot be read: {error.strerror or error}. Check that you may open it."
        ) from error


def _download(cache: Path) -> None:
    """Fetch the file into the cache, in two tries; pooch checks the hash before it takes its place."""
    pooch.get_logger().setLevel("ERROR")
    store = pooch.create(
        path=cache,
        base_url="",
        registry={FILE_NAME: f"sha256:{SHA256}"},
        urls={FILE_NAME: URL},
        retry_if_failed=1,
    )
    store.fetch(FILE_NAME, downloader=_stream)


def _stream(url: str, target: str, store: pooch.Pooch) -> None:
    """Write what the server sends to `target`, as long as it keeps to the size and the time limit."""
    deadline = time.monotonic() + TIME_LIMIT
    received = 0
    with requests.get(url, stream=True, timeout=5) as answer, Path(target).open("wb") as file:
        answer.raise_for_status()
        for chunk in answer.iter_content(4096):
            received += len(chunk)
            if received > SIZE:
                raise ValueError(f"more than {SIZE:,} bytes were sent")
            if time.monotonic() > deadline:
                raise TimeoutError(f"not all was sent within {TIME_LIMIT:.0f} seconds")
            file.write(chunk)


def _within(seconds: float, work: Callable[[], None]) -> None:
    """Run `work` in a thread and raise its exception here, or TimeoutError when it takes too long.

    A socket's own time limit counts from its last byte and leaves out the search for the host's
    address: neither a server that drips nor a silent name server may hold a class up.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds:.0f} seconds")
    if raised:
        raise raised[0]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _reason(error: BaseException) -> str:
    """Return a sentence without the nested objects that network libraries print."""
    if isinstance(error, requests.HTTPError):
        return str(error)
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.ConnectionError):
        return "the server cannot be reached"
    return str(error)


def note(message: str) -> None:
    """Say on stderr what a learner should know, where it is seen in a terminal and in a notebook."""
    if os.environ.get("RANK", "0") == "0":  # of several processes that train together, one speaks
        print(f"Note: {message}", file=sys.stderr)
