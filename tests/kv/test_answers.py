"""What is kept for requests that are sent again, and for how long."""

from twisted.trial.unittest import SynchronousTestCase

from txraft.kv import answers as module
from txraft.kv.answers import Answers, KeptAnswer


class AnswersTests(SynchronousTestCase):
    def test_number(self) -> None:
        """The oldest goes where there are too many, and each has a number of its own."""
        self.patch(module, "MAX_ANSWERS", 3)
        answers = Answers()
        kept = [answers.keep(b"%d" % number, b"answer") for number in range(1, 6)]
        self.assertEqual([each.number for each in kept], [1, 2, 3, 4, 5])
        self.assertEqual([each.oldest for each in kept], [1, 1, 1, 2, 3])
        self.assertEqual([answers.get(b"%d" % number) for number in range(1, 6)], [None] * 2 + [b"answer"] * 3)
        self.assertEqual((answers.first, len(answers)), (3, 3))

    def test_size(self) -> None:
        """As many of the oldest go as makes room, the new one with them where it is too long by itself. What is gone
        takes no room."""
        self.patch(module, "MAX_SIZE", 20)
        answers = Answers()
        for number in range(1, 6):
            answers.keep(b"%d" % number, b"abc")
        self.assertEqual((answers.first, answers.size), (1, 20))
        self.assertEqual(answers.keep(b"6", b"123456"), KeptAnswer(6, b"6", b"123456", oldest=3))
        self.assertEqual(answers.size, 19)
        self.assertEqual(answers.keep(b"7", bytes(20)).oldest, 8)
        self.assertEqual((answers.size, answers.get(b"7"), answers.keep(b"8", b"").number), (0, None, 8))

    def test_numbers_stay(self) -> None:
        """They are part of what all nodes decide alike: to change one, nodes that run the old one have to be gone."""
        self.assertEqual((module.MAX_ANSWERS, module.MAX_SIZE), (100_000, 32 << 20))
