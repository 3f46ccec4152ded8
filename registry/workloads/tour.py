"""The tour's workload: short questions that a small fluent teacher answers well, in several wordings.

The facts are fixed, so revision 1 always holds the same rows; the split is what a seed changes.
"""

import random
from dataclasses import dataclass
from functools import cache

from registry.workloads import tour_facts as facts
from registry.workloads.rows import Row


@dataclass(frozen=True)
class Family:
    """One kind of fact: its entries, ways to ask and the sentence that answers. `{s}` is asked, `{a}` answered."""

    name: str
    entries: str
    wordings: tuple[str, ...]
    answer: str
    symmetric: bool = False


FAMILIES = (
    Family(
        "capital",
        facts.CAPITALS,
        ("What is the capital of {s}?", "Name the capital city of {s}.", "Which city is the capital of {s}?"),
        "The capital of {s} is {a}.",
    ),
    Family(
        "opposite",
        facts.OPPOSITES,
        ('What is the opposite of "{s}"?', 'Which word means the opposite of "{s}"?', 'Give an antonym of "{s}".'),
        'The opposite of "{s}" is "{a}".',
        symmetric=True,
    ),
    Family(
        "animal",
        facts.ANIMALS,
        (
            "What kind of animal is the {s}?",
            "Is the {s} a mammal, bird, fish, insect or reptile?",
            "To which group of animals does the {s} belong?",
        ),
        "The {s} is a kind of {a}.",
    ),
    Family(
        "french",
        facts.FRENCH,
        ('How do you say "{s}" in French?', 'Translate "{s}" into French.', 'What is the French word for "{s}"?'),
        'The French word for "{s}" is "{a}".',
    ),
    Family(
        "spanish",
        facts.SPANISH,
        ('How do you say "{s}" in Spanish?', 'Translate "{s}" into Spanish.', 'What is the Spanish word for "{s}"?'),
        'The Spanish word for "{s}" is "{a}".',
    ),
    Family(
        "continent",
        facts.CONTINENTS,
        ("On which continent is {s}?", "Which continent is {s} in?", "Name the continent where {s} lies."),
        "{s} is a country in {a}.",
    ),
    Family(
        "colour",
        facts.COLOURS,
        ("What color is {s}?", "What is the typical color of {s}?", "Name the color of {s}."),
        "The color of {s} is {a}.",
    ),
    Family(
        "past",
        facts.PAST,
        (
            'What is the past tense of "{s}"?',
            'Give the simple past of the verb "{s}".',
            'How does the verb "{s}" look in the past tense?',
        ),
        'The past tense of "{s}" is "{a}".',
    ),
    Family(
        "plural",
        facts.PLURALS,
        ('What is the plural of "{s}"?', 'Give the plural form of "{s}".', 'How do you write more than one "{s}"?'),
        'The plural of "{s}" is "{a}".',
    ),
    Family(
        "language",
        facts.LANGUAGES,
        (
            "Which language is spoken in {s}?",
            "What is the main language of {s}?",
            "What do most people in {s} speak?",
        ),
        "The main language of {s} is {a}.",
    ),
    Family(
        "thing",
        facts.THINGS,
        ("What kind of thing is {s}?", "Which category does {s} belong to?", "What is {s}?"),
        "It is a kind of {a}.",
    ),
    Family(
        "workplace",
        facts.WORKPLACES,
        ("Where does a {s} work?", "Name the place where a {s} works.", "What is the workplace of a {s}?"),
        "A {s} works in a {a}.",
    ),
    Family(
        "young",
        facts.YOUNG,
        ("What is a young {s} called?", "What do you call a baby {s}?", "Name the young of a {s}."),
        "A young {s} is called a {a}.",
    ),
)


@cache
def rows() -> tuple[Row, ...]:
    """Every question of the tour, families in order, the wordings of a fact together."""
    return tuple(row for family in FAMILIES for row in _rows_of(family))


def _rows_of(family: Family) -> list[Row]:
    facts_asked = _facts(family)
    answers = sorted({answer for _, _, answer in facts_asked})
    made = []
    for key, asked, answer in facts_asked:
        choices = _choices(f"{family.name}:{asked}", asked, answer, answers)
        sentence = family.answer.format(s=asked, a=answer)
        made += [Row(wording.format(s=asked), sentence, key, choices, answer) for wording in family.wordings]
    return made


def _facts(family: Family) -> list[tuple[str, str, str]]:
    """(key, asked, answer) of each entry; a symmetric family is asked both ways under one key."""
    pairs = [tuple(part.strip() for part in entry.split("=")) for entry in family.entries.split(";")]
    result = [(f"{family.name}:{asked}", asked, answer) for asked, answer in pairs]
    if family.symmetric:
        result += [(f"{family.name}:{asked}", answer, asked) for asked, answer in pairs]
    return result


def _choices(name: str, asked: str, answer: str, answers: list[str]) -> tuple[str, ...]:
    """The answer among three others of its family, in an order that depends on the fact alone."""
    generator = random.Random(name)  # noqa: S311 - must be repeatable, not secret
    others = generator.sample([other for other in answers if other not in (answer, asked)], 3)
    place = generator.randrange(4)
    return (*others[:place], answer, *others[place:])
