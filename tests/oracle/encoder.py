"""Section E: a producer looks at one word of its spikes after the other, and sends what it sees."""

from dataclasses import dataclass


@dataclass
class Task:
    """What a producer does in a step: cycles of scanning, the flits of each word, the ends of the token."""

    step: object
    scan: int
    words: list
    ends: list


class Producer:
    """E1, E2: sent is the log of (cycle, flit)."""

    def __init__(self, router, tasks):
        self.router, self.tasks = router, tasks
        self.sent = []
        self._at = 0  # the task at work, or the next
        self._pause = 0  # cycles of scanning and reading before the first word
        self._words = []  # words still to be looked at, the ends of the token as the last

    def done(self):
        """Whether all steps have been sent."""
        return self._at == len(self.tasks)

    def wants(self):
        """Whether it looks at a flit, which goes if it may (N5)."""
        return bool(self._words and not self._pause and self._words[0])

    def between_steps(self):
        """Whether it waits for its next step's beginning (E2)."""
        return not self._words

    def step(self):
        """The step at work, or the next."""
        return self.tasks[self._at].step

    def work(self, cycle, granted, room):
        """One cycle; the flit that goes into the router, if any. granted: the step's grant has come (C6)."""
        task = self.tasks[self._at]
        if not self._words:
            if not granted:
                return None
            self._pause, self._words = task.scan + 1, [*(list(word) for word in task.words), list(task.ends)]
        if self._pause:
            self._pause -= 1
            return None
        word = self._words[0]
        flit = None
        if word:
            if not room:
                return None
            flit = word.pop(0)
            self.sent.append((cycle, flit))
        if not word:  # silent, or this was its last flit
            self._words.pop(0)
            if not self._words:
                self._at += 1
        return flit
