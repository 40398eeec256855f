"""What of a job is already there, kept up line by line; runs on devices too."""

from __future__ import annotations

from dataclasses import dataclass, field

from mobilemod.harness.protocol.job import Job, Resume
from mobilemod.harness.protocol.lines import PHASES, Line


@dataclass
class Held:
    """The answers and phases of a job that its lines hold.

    answered: indices of inputs by file name. unreadable: inputs that the device couldn't decode;
    they count as answered for every file. unavailable: configurations that the device can't run,
    and why; nothing more is asked of them. failed: configurations with an error that wasn't fatal,
    since the last `hello`. fatal: message of a fatal error since the last `hello`.
    """

    job: Job
    answered: dict[str, set[int]] = field(default_factory=dict)
    unreadable: set[int] = field(default_factory=set)
    finished: set[tuple[int, str]] = field(default_factory=set)
    unavailable: dict[int, str] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    fatal: str | None = None
    done: bool = False

    @classmethod
    def after(cls, job: Job, resume: Resume) -> Held:
        """What a `resume.json` says is there."""
        answered = {file: set(indices) for file, indices in resume.answered.items()}
        return cls(job, answered, finished=set(resume.finished))

    def add(self, line: Line) -> bool:
        """Take a line in; False where it speaks of what the job doesn't have."""
        job, index, image = self.job, line["configuration"], line["image"]
        if index is not None and index >= len(job.configurations):
            return False
        inputs = len(job.golden) if line.type == "golden" else job.inputs.count
        if image is not None and image >= inputs:
            return False
        if line.type == "hello":
            self.failed, self.fatal, self.done = set(), None, False
        elif line.type == "image":
            self.answered.setdefault(job.configurations[index].file, set()).add(image)
        elif line.type == "unreadable":
            self.unreadable.add(image)
        elif line.type == "finished":
            self.finished.add((index, line["phase"]))
        elif line.type == "unavailable":
            self.unavailable.setdefault(index, line["message"])
        elif line.type == "error" and line["fatal"]:
            self.fatal = line["message"]
        elif line.type == "error" and index is not None:
            self.failed.add(index)
        elif line.type == "done":
            self.done = True
        return True

    def resume(self) -> Resume:
        """As the device is told. A phase that is said to be finished while answers of it are
        missing (their lines were damaged) has to run again."""
        count = self.job.inputs.count
        answered = {
            f.name: frozenset(
                range(count)
                if self.is_unavailable(f.name)
                else self.answered.get(f.name, set()) | self.unreadable
            )
            for f in self.job.files
        }
        finished = {
            (index, phase)
            for index, phase in self.finished
            if phase != "accuracy" or not self.missing(self.job.configurations[index].file)
        }
        finished |= {(index, phase) for index in self.unavailable for phase in PHASES}
        return Resume(self.job.id, answered, frozenset(finished))

    def is_unavailable(self, file: str) -> bool:
        """Whether the device can't run a file where its images would be answered."""
        return self.job.first_configuration(file) in self.unavailable

    def missing(self, file: str) -> set[int]:
        """Inputs of a file without an answer that the device can give."""
        if not self.job.accuracy or self.is_unavailable(file):
            return set()
        there = self.answered.get(file, set()) | self.unreadable
        return set(range(self.job.inputs.count)) - there

    def open_phases(self) -> set[tuple[int, str]]:
        """(configuration, phase) that the job asks for and that aren't finished."""
        job = self.job
        wanted = {(index, "golden") for index in range(len(job.configurations))}
        for index in job.measured:
            if job.accuracy and job.first_configuration(job.configurations[index].file) == index:
                wanted.add((index, "accuracy"))
            if job.latency is not None:
                wanted.add((index, "latency"))
            if job.sustained_seconds:
                wanted.add((index, "sustained"))
        return wanted - set(self.resume().finished)

    def size(self) -> int:
        """Grows with everything that is new."""
        settled = len(self.unreadable) + len(self.finished) + len(self.unavailable)
        return sum(map(len, self.answered.values())) + settled
