"""A corpus in many scripts, from the CLDR names that Babel packages and the word lists of Faker."""

import importlib
import pkgutil
import random

import babel
import faker.providers.lorem as lorem
from babel import Locale
from babel.localedata import locale_identifiers

from captions import captions


def locales():
    """One locale of each language and script; the territory variants repeat them."""
    out = []
    for name in sorted(locale_identifiers()):
        try:
            parsed = Locale.parse(name)
        except (babel.UnknownLocaleError, ValueError):
            continue
        if parsed.territory is None and parsed.variant is None:
            out.append(parsed)
    return out


def locale_strings(locale):
    """Names of languages, territories, currencies, months and days in the locale's own language."""
    out = []
    for table in (locale.languages, locale.territories, locale.currencies, locale.scripts):
        out += [str(v) for v in table.values()]
    for table in (locale.months, locale.days):
        for kind in table.get("format", {}).values():
            out += [str(v) for v in kind.values()]
    return sorted({s for s in out if len(s) > 1})


def all_strings(per_locale, seed):
    """Strings of each locale, at most `per_locale`, none in plain ASCII but for English."""
    rng, out = random.Random(seed), {}
    for locale in locales():
        strings = locale_strings(locale)
        if locale.language != "en":
            strings = [s for s in strings if not s.isascii()]
        if len(strings) >= 30:
            out[str(locale)] = rng.sample(strings, min(per_locale, len(strings)))
    return out


def faker_words():
    out = {}
    for module in pkgutil.iter_modules(lorem.__path__):
        provider = importlib.import_module(f"faker.providers.lorem.{module.name}").Provider
        words = [w for w in getattr(provider, "word_list", ()) if isinstance(w, str)]
        if words and module.name not in ("la",):
            out[module.name] = list(dict.fromkeys(words))
    return out


def corpus(seed=1, per_locale=220):
    """Lines of text to train tokenizers on."""
    rng, lines = random.Random(seed), list(captions())
    for strings in all_strings(per_locale, seed).values():
        strings = list(strings)
        rng.shuffle(strings)
        lines += [", ".join(strings[i:i + 4]) for i in range(0, len(strings), 4)]
    for words in faker_words().values():
        words = rng.sample(words, min(600, len(words)))
        lines += [" ".join(words[i:i + 8]) for i in range(0, len(words), 8)]
    return lines
