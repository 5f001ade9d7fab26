"""Names: site paths as C identifiers, unique and free of anything C, C++ or the generated code means by a word."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bittailor.errors import BittailorError

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

KEYWORDS = frozenset(re.findall(r"\w+", """
auto break case char const continue default do double else enum extern float for goto if inline int long register
restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
alignas alignof and and_eq asm bitand bitor bool catch char8_t char16_t char32_t class co_await co_return co_yield
compl concept consteval constexpr constinit const_cast decltype delete dynamic_cast explicit export false friend
mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public reinterpret_cast requires
static_assert static_cast template this thread_local throw true try typeid typename typeof typeof_unqual using virtual
wchar_t xor xor_eq
"""))
"""Of C99 to C23 and of C++98 to C++20."""

OWN = frozenset({"x", "y", "i", "k", "t", "n", "rom", "frame", "state", "scratch", "steps", "first", "counted", "fixed",
                 "nothing", "main", "linux", "unix", "i386", "arm", "avr"})
"""Words of the generated functions, and macros that some compilers define."""

TAKEN = re.compile(r"bt_.*|BT_.*|TRACE.*|_.*|.*__.*|[A-Z][A-Z0-9_]+|u?int.*_t|size_t|ptrdiff_t|mem\w+|str\w+")
"""Names of the runtime, of headers, and reserved ones."""

LONGEST_PREFIX = 40


def identifier(name: str, used: set[str]) -> str:
    """A C identifier for a name, not in `used`, to which it is added.

    >>> used: set[str] = set()
    >>> [identifier(name, used) for name in ("gru0.r.x", "gru0.r_x", "0.in", "int")]
    ['gru0_r_x', 'gru0_r_x_2', 's_0_in', 's_int']
    """
    plain = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", name)).rstrip("_") or "s"
    if not IDENTIFIER.fullmatch(plain) or plain in KEYWORDS or plain in OWN or TAKEN.fullmatch(plain):
        plain = f"s_{plain.lstrip('_')}"
    unique, count = plain, 1
    while unique in used:
        count += 1
        unique = f"{plain}_{count}"
    used.add(unique)
    return unique


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """Name -> its identifier."""
    used: set[str] = set()
    return {name: identifier(name, used) for name in names}


def plain(text: str) -> str:
    """Text that is safe in a C comment and between double quotes: printable ASCII in one line."""
    ascii_ = "".join(c if " " <= c <= "~" else "?" for c in text)
    ascii_ = ascii_.replace("\\", "/").replace('"', "'")
    # a space between what would begin or end a comment, or a trigraph
    return re.sub(r"(?<=\*)(?=/)|(?<=/)(?=\*)|(?<=\?)(?=\?)", " ", ascii_)


def check_prefix(prefix: str) -> None:
    """BittailorError unless everything that a network exports can be named with this prefix."""
    if not prefix.isascii() or not IDENTIFIER.fullmatch(prefix):
        raise BittailorError(f"the prefix '{prefix}' is no C identifier; take letters, digits and '_', such as 'model'")
    if prefix in KEYWORDS:
        raise BittailorError(f"the prefix '{prefix}' is a keyword of C or C++; take another, such as 'model'")
    if prefix.startswith(("_", "bt_")) or prefix in ("bt", "main", "selftest") or "__" in prefix:
        raise BittailorError(f"the prefix '{prefix}' is reserved; take one that is not bt, main or selftest, does not "
                             "begin with '_' or 'bt_' and has no '__', such as 'model'")
    if len(prefix) > LONGEST_PREFIX:
        raise BittailorError(f"the prefix has {len(prefix)} characters; at most {LONGEST_PREFIX}")
