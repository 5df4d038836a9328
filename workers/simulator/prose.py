"""Readable, deterministic answers: the same ask always gets the same words.

The text is drawn from a digest, never from a random source, and always says of
itself that it is simulated.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from hashlib import blake2b

_WORD = re.compile(r"\b[^\W\d_]{5,23}\b")
_TOPIC_CHARS = 240  # the topic is looked for in the beginning of a prompt
_COMMON = frozenset("""about above after again against along among another answer around because become before
being below between could described different doing during either every first following given having however
instead itself least maybe might never often other others people perhaps please question rather really several
should since someone something still their themselves there therefore these thing think those three through
today together under until usually value where whether which while whose within without would write yours
explain describe consider choose decide still could would should always""".split())

_FIRST = (
    "This is a simulated answer: a test server wrote it, and {model} is only the name on the label.",
    "Please read this as a simulated answer, composed by a test server in the place of {model}.",
    "What follows is a simulated answer; no model was asked, although the request named {model}.",
    "A note first: this is a simulated answer, given by a stand-in for {model}.",
)
_LATER = (
    "This is again a simulated answer, the reply to turn {turn} under the name of {model}.",
    "Turn {turn}, and still a simulated answer: the stand-in for {model} goes on from what was said before.",
    "Here is a simulated answer to the follow-up, the number {turn} of this conversation with {model}.",
)
_STANCE = (
    "Taken at face value, the matter turns on {topic}, and reasonable people weigh it differently.",
    "The heart of it seems to be {topic}, so I would start there and let the details wait.",
    "If I had to begin anywhere, I would begin with {topic} and ask who carries the cost.",
    "My first instinct is to look at {topic} and at what would change if we were wrong about it.",
    "There is a plain reading of {topic}, and there is a careful one; I prefer the careful one.",
)
_POINTS = (
    "One side stresses what can be counted: time, money, and the number of people who are touched by the choice.",
    "The other side points to what is hard to count, such as trust that took years to build and a week to lose.",
    "Evidence from similar cases helps, but each of them differs in one respect that somebody will find decisive.",
    "A rule that is easy to explain has a value of its own, even where a finer rule would be right more often.",
    "Those who decide are seldom those who live with the result, which argues for asking the second group early.",
    "Small and reversible steps deserve less debate than large ones, and it is fair to treat them so.",
    "It also matters when the choice is made, since a good answer that comes too late is a poor one.",
    "Where the facts are uncertain, I would say how uncertain they are instead of hiding it in the wording.",
    "Two goals that look opposed often share a cause, and then the cause is the better place to work.",
    "An exception granted once tends to be asked for again, so the reason for it should be written down.",
    "If a promise was made, it weighs something, though it does not weigh more than everything else together.",
    "The strongest objection is not the loudest one, and it deserves its answer before a decision is taken.",
    "What looks like a conflict of values is sometimes only a missing fact that somebody could go and find.",
    "Doing nothing is a choice as well, with costs that are quieter and for that reason easily overlooked.",
)
_LINKS = ("Next to that,", "In practice,", "Then again,", "To put it simply,", "On reflection,", "At the same time,")
_CLOSE = (
    "On balance I lean towards the option that keeps {topic} open to correction, and I hold that view loosely.",
    "So my answer is a guarded yes, provided that {topic} is looked at again once more is known.",
    "I would therefore wait for one more piece of evidence on {topic}, and set a date by which to stop waiting.",
    "In the end I would choose the fairer course on {topic}, and say openly what it costs.",
)


_SIZES = {sentence: len(sentence.split()) for sentence in _FIRST + _LATER + _STANCE + _POINTS + _CLOSE}


class Dice:
    """An endless stream of small choices that a digest determines."""

    def __init__(self, *parts: object):
        self._seed = "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass")
        self._block = 0
        self._rolls = iter(())

    def below(self, n: int) -> int:
        """A number in 0..n-1; n is small against 2^32."""
        roll = next(self._rolls, None)
        if roll is None:
            digest = blake2b(self._seed, digest_size=64, salt=self._block.to_bytes(8, "big")).digest()
            self._rolls = iter(struct.unpack(">16I", digest))
            self._block += 1
            roll = next(self._rolls)
        return roll % n

    def pick(self, options):
        return options[self.below(len(options))]

    def fraction(self) -> float:
        """A number in [0, 1)."""
        return self.below(1 << 32) / (1 << 32)


def topic_of(text: str) -> str:
    """Up to three telling words of a prompt, in its own order."""
    seen = dict.fromkeys(_WORD.findall(text[:_TOPIC_CHARS].lower()))
    words = [w for w in seen if w not in _COMMON]
    telling = sorted(words, key=len, reverse=True)[:3]
    chosen = [w for w in words if w in telling]
    if not chosen:
        return "the question"
    return chosen[0] if len(chosen) == 1 else ", ".join(chosen[:-1]) + " and " + chosen[-1]


@lru_cache(maxsize=2048)
def compose(key: tuple, model: str, turn: int, prompt: str, words: tuple[int, int]) -> str:
    """Whole sentences of words[0]..words[1] words, as nearly as sentences allow; `key` settles which."""
    dice = Dice(*key)
    topic = topic_of(prompt)
    low, high = words
    # The last sentence may run over by its own length: leave room for it.
    goal = low + dice.below(max(1, high - low - 25))
    opening, stance, closing = dice.pick(_FIRST if turn <= 1 else _LATER), dice.pick(_STANCE), dice.pick(_CLOSE)
    parts = [opening.format(model=model, turn=turn), stance.format(topic=topic)]
    count = _SIZES[opening] + _SIZES[stance] + _SIZES[closing]
    deck: list[str] = []
    while count < goal:
        if not deck:
            deck = list(_POINTS)
        point = deck.pop(dice.below(len(deck)))
        count += _SIZES[point]
        if dice.below(3) == 0:
            point = f"{dice.pick(_LINKS)} {point[0].lower()}{point[1:]}"
        parts.append(point)
    middle = 2 + (len(parts) - 2) // 2
    return " ".join(parts[:middle]) + "\n\n" + " ".join([*parts[middle:], closing.format(topic=topic)])


def filler(text: str, size: int) -> str:
    """`text` repeated to exactly `size` characters."""
    return ((text + "\n\n") * (size // (len(text) + 2) + 1))[:size]


UNICODE = ("Grüße, Ελλάδα, Привет, שלום, مرحبا, नमस्ते, 你好, こんにちは, 안녕하세요. "
           "Beyond the basic plane: 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 🜚 👩🏽‍🚀 🏳️‍🌈. Combining: Z̸̢a͓l̸g͜o é e\u0301. "
           "Invisible: [\u200b] [\u2060] [\ufeff] [\u00ad]. Lines: [\u2028] [\u2029] [\u0085]. "
           "Controls: [\t] [\r\n] [\x1b] [\x7f]. Replacement: [\ufffd] [\uffff]. Quotes: \"\\/'`$%{}<&>")
