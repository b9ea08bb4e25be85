"""Redact personal data and credentials before text is sent to a language model.

A short list of patterns: libraries that find names and addresses need language models themselves.
Numbers that only look like phone numbers are redacted too, which does not harm labels.
"""

import re

_SECRETS = re.compile(
    r"""
    -----BEGIN[ A-Z]{0,30}PRIVATE[ ]KEY-----.*?(?:-----END[ A-Z]{0,30}-----|\Z)
  | (?:\b|(?<=\\[nrt])) (?:  # also after a line break of JSON that a text quotes
        (?:sk|pk|rk|phc|phx|whsec)[-_][A-Za-z0-9_-]{12,}  # OpenAI, Anthropic, Stripe, PostHog
      | (?:gh[pousr]|github_pat|glpat|hf|npm|pypi|dop_v1|shpat|xox[a-z]|xapp)[-_][A-Za-z0-9_-]{10,}
      | (?:AKIA|ASIA)[A-Z0-9]{16}\b  # AWS
      | (?:AIza|ya29\.|SG\.)[A-Za-z0-9._-]{20,}  # Google, SendGrid
      | eyJ[A-Za-z0-9_-]{8,2000}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?  # JSON web tokens
      | hooks\.slack\.com/(?:services|triggers|workflows)/[\w/-]+  # a webhook's URL is its key
    )
  | (?<=://)[^\s/:@]*:[^\s/"'<>`]+(?=@)  # user:password@ of a URL
  | (?i:(?<=bearer\ )|(?<=basic\ ))[A-Za-z0-9._~+/=-]{12,}
    """,
    re.VERBOSE | re.DOTALL,
)
_NAMED_SECRETS = re.compile(
    r"""(?ix) ( (?<![a-z0-9]) [a-z0-9_-]{0,40}? (?: password | passwd | pwd | passphrase | secret
        | (?: api | access | private ) [ _-]? key | token (?! s? ["']? \s* [:=] \s* \d+ \b ) )
        # quotes are escaped in a text that quotes JSON
        \\{0,8} ["']?  (?: \s{0,3} [:=] \s{0,3}
          # "password #124" names a ticket
          | [ ] (?! \#\d+ (?! [^\s.,;:!?)] ) ) (?= \S* [\d!#$%&*+/<>?@^_~] )
          | [ ] is [ ] (?= \S* [\d!#$%&*+/<>?@^_~] ) ) \\{0,8} ["']? )
        # in quotes, everything up to the closing quote, which may be cut off
        ( (?<=") [^\s"] [^"\n]{3,} | (?<=') [^\s'] [^'\n]{3,} | [^\s"',;]{4,} )"""
)
_EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_CARD = re.compile(r"(?:(?<![\w.-])|(?<=\\[nrt]))\d(?:[ .-]{0,2}\d){12,18}(?![\w-])")
_PHONE = re.compile(
    r"""(?x) (?: (?<![\w.,/:-]) | (?<=\\[nrt]) ) (?!\d{4}-\d\d-\d\d) (?:
        \+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d(?:[ .-]?\d){5,12}   # +44 20 7946 0958
      | 1[ .-]?\(\d{3}\)[ .-]?\d{3}[ .-]\d{4}                       # 1 (415) 555-2671
      | 1[ .-]\d{3}[ .-]\d{3}[ .-]\d{4}                             # 1-800-555-0199
      | \(\d{2,5}\)[ .-]?\d{3,4}[ .-]?\d{3,4}                       # (415) 555-2671
      | \d{2,5}[ .-]\d{3,4}[ .-]\d{3,5}                             # 415-555-2671
      | 0\d(?:[ .-]\d\d){4}                                        # 06 12 34 56 78
      | 0\d{2,4}[ /-]\d{6,8}                                       # 0176 12345678
      | \d{10,11}                                                   # 4155552671
    ) (?![\w-]|[.,]\d)"""
)
# A URL that is cut off in its password.
_UNFINISHED_URL = re.compile(r"://[^\s/:@]*:[!-.0-~]*\Z")
# What may be the first characters of a secret, read backward from where a text is cut off: a word,
# and numbers in groups. Secrets of several words are recognized by their first.
_LAST_WORD = re.compile(r"[!-~]{0,304}[\s\d().+/-]{0,40}")
# What is left of a secret that began before the text does
_END_OF_KEY = re.compile(r".*-----END[ A-Z]{0,30}-----", re.DOTALL)
_END_OF_WORD = re.compile(r"[!-~]*")
# What stands in redacted text for what was there.
PLACEHOLDER = re.compile(r"\[(?:email|phone|card|secret)\]")
# Maximum characters that a pattern needs to see before it matches, except for a URL's password.
LONGEST = 304


def redact(text: str) -> str:
    """The text with email addresses, phone numbers, card numbers, keys and tokens replaced by
    ``[email]``, ``[phone]``, ``[card]`` and ``[secret]``."""
    text = _SECRETS.sub("[secret]", text)
    text = _NAMED_SECRETS.sub(lambda found: f"{found[1]}[secret]", text)
    text = _EMAIL.sub("[email]", text)
    text = _CARD.sub(lambda found: "[card]" if _is_card(found[0]) else found[0], text)
    return _PHONE.sub("[phone]", text)


def redact_cut_off(text: str) -> str:
    """`redact` for a text that is cut off. It drops the last characters, which may be the start of
    a secret that no pattern recognizes without its end."""
    text = redact(text)
    unfinished = _UNFINISHED_URL.search(text)
    return text[:-LONGEST][: unfinished.start() if unfinished else None]


def redact_piece(text: str, *, begins: bool, ends: bool) -> str:
    """`redact` for a piece of a text. It drops what may be part of a secret that is recognized only
    as a whole: where the text is cut off, the last word or number, which is less than what
    `redact_cut_off` drops; where its beginning is missing, the first `LONGEST` characters.

    Args:
        begins, ends: Whether the piece has the beginning and the end of the text.
    """
    text = redact(text)
    if not ends:
        unfinished = _UNFINISHED_URL.search(text)
        text = text[: unfinished.start() if unfinished else None]
        if last := _LAST_WORD.match(text[::-1]):
            text = text[: len(text) - last.end()]
    if not begins:
        text = _END_OF_KEY.sub("", text)[LONGEST:]
        text = _END_OF_WORD.sub("", text, count=1)
    return text


def _is_card(number: str) -> bool:
    """Whether the Luhn checksum (ISO/IEC 7812-1) of card numbers is correct."""
    digits = [int(c) for c in reversed(number) if c.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0
