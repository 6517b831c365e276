"""Running one student's notebook in processes of its own, and telling what each exercise is worth."""

import contextlib
import json
import os
import queue
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attempt import decode, draw

from llm_course.exercises import Question, find
from llm_course.exercises.check import examine_answer
from llm_course.exercises.comparison import equal

ROOT = Path(__file__).resolve().parent.parent
STARTING = 120.0  # seconds for a process to import PyTorch on a busy machine
REPLY_SIZE = 10_000_000  # bytes of one reply
# Of our variables; no other is handed on.
KEPT = ("PATH", "LANG", "LC_ALL", "SYSTEMROOT", "PATHEXT")


class GoneError(RuntimeError):
    """A process that ended, hung, or spoke nonsense, in words for the table of grades."""


@dataclass(frozen=True)
class Limits:
    """What one hand-in may take: seconds in all, and GB of memory in a process."""

    seconds: float = 120.0
    memory: int = 4


@dataclass
class Step:
    """A cell to run, or (with `source` None) an exercise to examine."""

    exercise: str  # "" for a cell that belongs to none
    source: str | None = None
    error: str = ""
    is_left_out: bool = False  # it ended or held up a process


@dataclass
class Verdict:
    """Whether an exercise was solved, and what happened."""

    passed: bool
    said: str
    notes: list[str] = field(default_factory=list)


class StudentProcess:
    """tools/attempt.py in a folder, a group and an environment of its own."""

    def __init__(self, folder: Path, memory: int) -> None:
        environment = {name: os.environ[name] for name in KEPT if name in os.environ}
        places = ("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP", "IPYTHONDIR", "MPLCONFIGDIR")
        environment |= dict.fromkeys(places, str(folder))
        environment |= {
            "PYTHONPATH": str(ROOT),
            "PYTHONIOENCODING": "utf-8",
            "OMP_NUM_THREADS": "1",
            "MPLBACKEND": "Agg",
            "LLM_COURSE_OFFLINE": "1",
            "LLM_COURSE_PROGRESS": str(folder / "progress.json"),
            "LLM_COURSE_STRICT": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(ROOT / "tools" / "attempt.py"), str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=folder,
            env=environment,
            start_new_session=True,  # a group of its own, to be killed as a whole
        )
        self.replies: queue.Queue[bytes] = queue.Queue(8)  # a flood must wait
        self.number = 0
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        try:
            self._wait(STARTING)
        except GoneError as error:
            self.kill()
            raise OSError(f"no process for the students' code could be started: {error}") from None

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while line := self.process.stdout.readline(REPLY_SIZE):
                self.replies.put(line)
        self.replies.put(b"")

    def ask(self, seconds: float, **request: Any) -> dict[str, Any]:
        """Send a request and return the reply; GoneError where none comes in time."""
        self.number += 1
        line = json.dumps({"number": self.number, **request}) + "\n"
        threading.Thread(target=self._send, args=(line.encode(),), daemon=True).start()
        return self._wait(seconds)

    def _send(self, line: bytes) -> None:
        """Write in a thread, since a process that does not read would hold us up for ever."""
        with contextlib.suppress(OSError, ValueError):
            self.process.stdin.write(line)
            self.process.stdin.flush()

    def _wait(self, seconds: float) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while True:
            try:
                line = self.replies.get(timeout=max(0.001, end - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None or time.monotonic() > end:
                raise GoneError(f"was not done after {seconds:.0f} s, and was stopped")
            if not line:
                raise GoneError("ended the whole process")
            try:
                reply = json.loads(line)
                if reply["number"] == self.number:
                    return reply
            except (ValueError, KeyError, TypeError, RecursionError):
                raise GoneError("wrote into what only the grading may write to") from None

    def kill(self) -> None:
        """End the process and all that it started, but for what has left its group."""
        for _ in range(3):  # it may be starting others just now
            if os.name == "posix":
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.process.pid, signal.SIGKILL)
            else:
                tree = ["taskkill", "/F", "/T", "/PID", str(self.process.pid)]
                subprocess.run(tree, capture_output=True, check=False)
            time.sleep(0.02)
        self.process.kill()
        self.process.wait()
        self.reader.join(1)
        if not self.reader.is_alive():  # else something that has left the group holds the pipe
            for pipe in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()


def run_steps(steps: list[Step], limits: Limits) -> dict[str, Verdict]:
    """Run a hand-in; what ends or hangs the process is left out, and the rest is run in a new one."""
    verdicts: dict[str, Verdict] = {}
    exercises = [step.exercise for step in steps if step.source is None]
    left = limits.seconds
    while len(verdicts) < len(exercises):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            process = StudentProcess(Path(folder), limits.memory)
            started = time.monotonic()
            try:
                for step in steps:
                    is_decided = step.source is None and step.exercise in verdicts
                    if step.is_left_out or is_decided:
                        continue
                    now = left - (time.monotonic() - started)
                    if now < 1:
                        said = (
                            f"the {limits.seconds:.0f} s for the whole notebook were used up before"
                        )
                        return verdicts | {
                            name: Verdict(False, said) for name in exercises if name not in verdicts
                        }
                    _one_step(step, process, now / (len(exercises) - len(verdicts) + 1), verdicts)
            except GoneError as error:
                step.error, step.is_left_out = f"it {error}", True
                if step.source is None:
                    verdicts[step.exercise] = Verdict(False, step.error)
            finally:
                process.kill()
            left -= time.monotonic() - started
    return verdicts


def _one_step(
    step: Step, process: StudentProcess, seconds: float, verdicts: dict[str, Verdict]
) -> None:
    if step.source is not None:
        reply = process.ask(seconds, do="cell", source=step.source)
        step.error = str(reply.get("error") or reply.get("failed") or "")
        return
    seed = secrets.randbelow(2**31)
    reply = process.ask(seconds, do="attempt", name=step.exercise, seed=seed)
    verdicts[step.exercise] = judge(step.exercise, reply, seed)


def judge(name: str, reply: dict[str, Any], seed: int) -> Verdict:
    """Decide by what came out of the student's process, and not by what it says about itself."""
    if "failed" in reply:
        return Verdict(False, f"the check itself failed on it: {reply['failed']}")
    if reply.get("missing"):
        return Verdict(False, f"there is no {name}")
    exercise = find(name)
    if isinstance(exercise, Question):
        result = examine_answer(exercise, reply.get("answer"))
        said = _short(result.feedback, name) if result.attempted else "not attempted"
        return Verdict(result.passed, said)
    said = _short(str(reply.get("said", "")), name)
    if reply.get("values") is None:
        return Verdict(False, said if reply.get("attempted") else "not attempted")
    wanted = [exercise.reference(*inputs) for inputs in draw(exercise, seed)]
    with contextlib.suppress(Exception):  # whatever a forged value may bring about
        if equal(decode(reply["values"]), wanted):
            return Verdict(True, "right")
    return Verdict(
        False, "it was called right, but its results are not: does a cell change the check?"
    )


def _short(feedback: str, name: str) -> str:
    return re.sub(r"\s+", " ", feedback.removeprefix(f"{name}: ")).strip()
