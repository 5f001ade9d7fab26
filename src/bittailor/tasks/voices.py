"""The voices of espeak-ng, and which part of the data each speaks in: no voice, nor a variant of it, stands in two.

Each string is a family: voices that are variants of one another, with spaces between them.
Left out: Alicia, Demonic, f2, f3, f5, sandro, victor, whisper, whisperf: their noise is seeded by the clock.
"""

from __future__ import annotations

LANGUAGE = "en-us"
TRAIN = (
    "Annie", "AnxiousAndy", "Diogo", "Henrique", "Lee", "Marco", "Michael", "Nguyen",
    "RicishayMax RicishayMax2 RicishayMax3", "Storm", "Tweaky", "UniRobot", "adam", "anika anikaRobot", "aunty",
    "boris", "croak", "david", "fast", "grandma", "grandpa", "ian", "iven iven2 iven3 iven4",
    "klatt klatt2 klatt3 klatt4 klatt5 klatt6", "m1", "m3", "m6", "m7", "marcelo", "max", "paul", "rob robert",
    "robosoft robosoft2 robosoft3 robosoft4 robosoft5 robosoft6 robosoft7 robosoft8", "steph steph2 steph3",
)
VALIDATION = (
    "Alex", "Andy", "Gene Gene2", "Jacky", "Mike mike2", "Mr serious", "Reed", "announcer", "antonio", "benjamin",
    "ed", "f1", "kaukovalta", "m4", "miguel", "pedro", "shelby", "travis",
)
TEST = (
    "Andrea", "Denis", "Hugo", "Mario", "belinda", "caleb", "edward edward2", "f4", "gustave", "john", "linda", "m2",
    "m5", "m8", "michel", "norbert", "pablo", "quincy", "zac",
)


def voices(family: str) -> list[str]:
    """The voices of a family.

    >>> voices("Mike mike2"), voices("Mr serious")
    (['Mike', 'mike2'], ['Mr serious'])
    """
    return [family] if family == "Mr serious" else family.split()
