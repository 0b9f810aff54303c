"""Writes tests/data/tokenizer_strings.jsonl: 2,000 strings that tokenizers are compared on.

A line is a JSON string, or {"text": T, "repeat": N} for T written N times. Strings hold neither NUL, which a C prompt
cannot carry, nor code points that Unicode 14 does not assign (but for private use and noncharacters): whether such are
letters differs between the Unicode versions of libraries.
"""

import json
import os
import random
import sys
import unicodedata

from captions import LONG, captions
from charsmap import charsmap_of, keys
from common import DATA
from multilingual import all_strings, faker_words

COUNT = 2000
SPACES = [0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x1C, 0x1D, 0x1E, 0x1F, 0x20, 0x85, 0xA0, 0x1680, 0x180E, *range(0x2000, 0x2010),
          0x2028, 0x2029, 0x202F, 0x205F, 0x2060, 0x2061, 0x3000, 0xFEFF, 0x2800, 0x3164, 0xAD, 0x200E, 0x200F, 0x202A,
          0x202E, 0x2066, 0x2069, 0x034F, 0x115F, 0xFFFC, 0xFFFD]
SPECIAL = """<|endoftext|> <|startoftext|> <|ENDOFTEXT|> <|endoftext|><|endoftext|> a<|endoftext|>b x<|startoftext|> </s> <s>
<pad> <unk> <extra_id_0> <extra_id_99> <extra_id_100> <extra_id_0><extra_id_1> a</s>b </S> <PAD> ▁ ▁a a▁b ▁▁ </w> a</w>
<|endoftext <|end|> <| |> <extra_id_> <extra_id_-1> < / s> [CLS] [MASK] Ġ Ġhello Ċ ## @@ <0x0A> <n> </s></s>""".split()
EMOJI = """👨‍👩‍👧‍👦 👩🏽‍🚀 🏳️‍🌈 🏴‍☠️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 🇫🇷🇯🇵 🇫 1️⃣ #️⃣ *⃣ ❤️ ❤︎ ❤ ☺️ ✌🏿 🤷🏻‍♂️ 🧑‍🤝‍🧑 👁️‍🗨️ 😀😃😄 🦄 🫠 🥹 ™️ ©️ ㊗️ 🅰️ ⏏︎ 🀄 🃏
💩‍ ‍👧 🐻‍❄️ 🐈‍⬛ 👩‍❤️‍💋‍👨 🧔🏾‍♀️ 🕵️‍♀️ 🇺🇳🇺 🔟 🆗 ➿ 🗿 🧿 🫱🏼‍🫲🏿 😶‍🌫️ ❤️‍🔥 🏃🏽‍♀️ ♾️ ⚧️ 🏳️‍⚧️""".split()
ENTITIES = ["&amp;", "&lt;b&gt;", "&#39;", "&#x27;quoted&#x27;", "&nbsp;a&nbsp;b", "&amp;amp;lt;", "caf&eacute;", "&copy;2024",
            "&unknown;", "& ;", "schÃ¶n", "â€œquotedâ€\u009d", "FranÃ§ois", "l'humanitÃ©", "‘single’ “double”", "ﬁ ﬂ ﬀ ﬃ ﬅ ĳ ŉ",
            "Ａｌｌ　ｗｉｄｅ　１２３！", "ﾊﾝｶｸ ｶﾞｷﾞ ﾊﾟ", "<b>bold</b><br/>", "\\u00e9 \\n \\t", "a\u2028b", "…and so on...", "½ ¼ ¾ x² H₂O ®™",
            "Ⅷ ⅷ ① ⑳ ㈱ ㍿ ㎏ ㏒ ℃ №", "ｶﾞ", "ſtraße ẞ", "İstanbul ıI", "ΌΣΟΣ ος Σ", "ǅ ǆ Ǆ", "K Å Ω"]
ENGLISH = ["don't I'm you're we've they'll he'd it's", "DON'T I'M YOU'RE WE'VE THEY'LL HE'D IT'S", "dogs' 'quoted' ''s '''", "it’s don’t",
           "'s't're've'm'll'd", "'S'T'RE'VE'M'LL'D", "3.14159e-10", "1,000,000", "v1.2.3-beta+4", "user@example.com", "https://a.b/c?d=e&f=#g",
           "C:\\path\\to", "snake_case camelCase kebab-case", "(((a)))", "!!!???", "a,b;c:d.e", "--steps=20", "$9.99 €5 £3 ¥700",
           "100%", "24x36", "a/b", "~`^*", "\"x\"", "x" * 60, "ab" * 40, "A" * 33, "z!" * 20, "0" * 50, "supercalifragilisticexpialidocious",
           "tHiS iS mIxEd", "a-b–c—d", "e.g., i.e., etc.", "#hashtag @mention", "O'Neill o'clock rock'n'roll", "'", "''", "\"", ".", "-", "s"]


def assigned(c):
    return unicodedata.category(c) not in ("Cn", "Cs")


def everywhere(rng):
    """Random code points: by category, by block of 128, and short runs in one block."""
    valid = [chr(c) for c in range(1, 0x110000) if not 0xD800 <= c < 0xE000 and assigned(chr(c))]
    blocks, by_category = {}, {}
    for c in valid:
        blocks.setdefault(ord(c) >> 7, []).append(c)
        by_category.setdefault(unicodedata.category(c), []).append(c)
    small = [b for b in blocks.values() if unicodedata.category(b[0]) != "Co"]
    common = [b for b in small if not 0x3400 <= ord(b[0]) <= 0xD7FF and ord(b[0]) < 0x10000]
    out = ["".join(rng.sample(by_category[k], min(6, len(by_category[k])))) for k in sorted(by_category) for _ in (0, 1)]
    out += ["".join(rng.choice(rng.choice(small)) for _ in range(6)) for _ in range(40)]
    out += [" ".join("".join(rng.choice(b) for _ in range(rng.randint(1, 4))) for b in [rng.choice(common)] * 3) for _ in range(120)]
    return out + ["\ue000a", "\uf8ff", "\U000f0000", "\U0010fffd x", "\ufdd0", "\uffff", "\U0001ffff"]


def marks(rng, charsmap_keys):
    """Combining marks in any order, on letters of many scripts, on characters that the charsmap replaces; Hangul."""
    combining = [chr(c) for c in range(0x300, 0x30000) if unicodedata.combining(chr(c)) and assigned(chr(c))]
    low = [c for c in combining if ord(c) < 0x370]
    bases = "aeiouAEIOUnsczyxqøßåçé ἀωаеи אب कกක가あ1.😀"
    out = [rng.choice(bases) + "".join(rng.choice(low) for _ in range(rng.randint(1, 5))) for _ in range(60)]
    out += ["".join(rng.choice(bases) + rng.choice(combining) + rng.choice(combining) for _ in range(2)) for _ in range(50)]
    out += ["o\u0323\u0302 o\u0302\u0323 \u1ed9", "q\u0307\u0323 q\u0323\u0307", "\u0344", "\u0301a", "a\u0301\u0301", "\u212b A\u030a \u00c5"]
    short = [k.decode() for k in charsmap_keys if len(k) in (2, 3) and len(k.decode()) == 1 and unicodedata.combining(k.decode()) == 0]
    out += ["".join(rng.choice(short) + rng.choice(low) + rng.choice("ab ") for _ in range(3)) for _ in range(70)]
    words = ["한국어 텍스트", "뷁 쀏", "각나닭", "서울특별시"]
    out += words + [unicodedata.normalize("NFD", w) for w in words] + ["\u1100\u1161\u11a8", "\u1100\u1161 \u11a8", "ㄱㅏㄱ", "\u1161\u1100",
            "가\u11a8", "\u1112\u1161\u11ab\u1100\u1173\u11af"]
    texts = ["Ťřída ňáká", "Tiếng Việt đẹp", "ἄνθρωπος ᾧ", "दे॒वा॑ः क्ष ज्ञ", "ก้ำ น้ำ", "בְּרֵאשִׁית", "بِسْمِ ٱللّٰهِ ﷺ ﷽", "གྲྭ་ཚང", "มี่", "ക്ഷ്മ",
             "க்ஷ ஸ்ரீ", "ස්‍රී", "ខ្មែរ", "မြန်မာ", "ኢትዮጵያ", "ᠮᠣᠩᠭᠣᠯ", "がぎぐ パピ"]
    return out + [unicodedata.normalize(f, t) for t in texts for f in ("NFC", "NFD", "NFKD")]


def charsmap_strings(rng, charsmap_keys):
    """Every key of one code point, and a sample of the others, a space or nothing between."""
    single = [k.decode() for k in charsmap_keys if len(k.decode()) == 1 and k.decode() != "\0"]
    single = [c for c in single if assigned(c)]
    longer = [k.decode() for k in charsmap_keys if len(k.decode()) > 1]
    longer = rng.sample([k for k in longer if len(k.encode()) < 9], 450) + rng.sample(longer, 150)
    chunk = lambda items, n: [items[i:i + n] for i in range(0, len(items), n)]
    out = [("" if i % 3 else " ").join(part) for i, part in enumerate(chunk(single, 22))]
    return out + [(" " if i % 2 else "").join(part) for i, part in enumerate(chunk(longer, 12))], len(single)


def spaces():
    out = ["", " ", "  ", "\n", "\t", " \n ", "   a", "a   ", " a b ", "a  b", "a\r\nb", "\n\na\n\nb\n\n", "\u3000", "\u00a0", "▁", " ▁ "]
    out += [f"a{chr(c)}b" for c in SPACES] + [f"{chr(c)}ab{chr(c)}{chr(c)}c{chr(c)}" for c in SPACES]
    controls = [*range(1, 9), *range(0x0E, 0x1C), *range(0x7F, 0x85), *range(0x86, 0xA0)]
    return out + [f"x{chr(c)}y {chr(c)}" for c in controls]


def special(rng):
    out = list(SPECIAL)
    for s in SPECIAL[:20]:
        out += [f" {s} ", f"a {s} b", f"{s}{rng.choice(SPECIAL)}", f"é{s}．"]
    return out


def strings():
    rng = random.Random(2024)
    charsmap_keys = keys(charsmap_of(os.path.join(DATA, "tokenizer-t5", "spiece.model")))
    mapped, count = charsmap_strings(rng, charsmap_keys)
    out = spaces() + special(rng) + EMOJI + [" ".join(rng.sample(EMOJI, 4)) + rng.choice(["", " end", "!"]) for _ in range(15)]
    out += ENTITIES + ENGLISH + marks(rng, charsmap_keys) + mapped + everywhere(rng)
    out += [{"text": "The quick brown fox, ", "repeat": 5000}, {"text": "a", "repeat": 100000}, {"text": "Übergrößenträger", "repeat": 1500},
            {"text": "漢字 かな\n", "repeat": 7000}, {"text": "👩🏽‍🚀", "repeat": 5000}, {"text": " ", "repeat": 100000},
            {"text": LONG + " ", "repeat": 10}, {"text": "क्षि ", "repeat": 3000}]
    by_locale = all_strings(60, 99)
    names = sorted(by_locale)
    captioned, words = captions(), faker_words()
    while len(out) < COUNT:
        kind = len(out) % 8
        if kind < 5:
            pool = by_locale[names[(len(out) * 7) % len(names)]]
            out.append(rng.choice([" ", ", ", "; ", " – ", "/"]).join(rng.choice(pool) for _ in range(rng.randint(1, 3))))
        elif kind == 5:
            out.append(" ".join(rng.choice(words[k]) for k in [rng.choice(sorted(words))] * rng.randint(2, 7)) + rng.choice([".", "", "!"]))
        elif kind == 6:
            text = rng.choice(captioned)
            out.append(rng.choice([text, text.upper(), text.title(), text.replace(" ", "  ")]))
        else:
            out.append(" ".join(rng.choice(by_locale[rng.choice(names)]) for _ in range(2)))
    assert len(out) == COUNT, len(out)
    for s in out:
        text = s["text"] if isinstance(s, dict) else s
        assert "\0" not in text and not any(0xD800 <= ord(c) < 0xE000 for c in text)
    return out, count


def main():
    out, count = strings()
    with open(os.path.join(DATA, "tokenizer_strings.jsonl"), "w", encoding="utf-8") as f:
        f.writelines(json.dumps(s, ensure_ascii=False) + "\n" for s in out)
    print(len(out), "strings;", count, "keys of one code point in them")


if __name__ == "__main__":
    sys.exit(main())
