"""Text of a guest on its way to a person: nothing in it may move a cursor, name a window or hide what follows.

Source: ECMA-48 §5.2 and §5.3 (C0 and C1 control characters); Unicode Standard Annex #9 (bidirectional controls).
"""

from __future__ import annotations

_BIDI = (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SEPARATORS = (0x2028, 0x2029, 0xFEFF)
_C0_C1 = (*range(0x20), 0x7F, *range(0x80, 0xA0))
_CODES = {code: f"\\x{code:02x}" for code in _C0_C1} | {code: f"\\u{code:04x}" for code in (*_BIDI, *_SEPARATORS)}
_IN_LINES = {code: text for code, text in _CODES.items() if chr(code) not in "\n\t"}


def visible(text: str) -> str:
    """Control characters as codes, like `\\x1b`; new lines and tabs stay, and the return before a new line goes."""
    return text if text.isprintable() else text.replace("\r\n", "\n").translate(_IN_LINES)


def visible_line(text: str) -> str:
    """The same for what is to be one line: new lines and tabs are codes as well."""
    return text if text.isprintable() else text.translate(_CODES)
