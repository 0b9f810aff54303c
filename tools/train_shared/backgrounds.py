"""The colours of backgrounds."""

# name, RGB, other names
BACKGROUNDS = [
    ("white", (255, 255, 255), []),
    ("black", (16, 16, 20), []),
    ("grey", (150, 150, 155), ["gray"]),
    ("red", (206, 38, 54), []),
    ("orange", (250, 155, 70), []),
    ("yellow", (255, 232, 105), []),
    ("green", (70, 170, 90), []),
    ("turquoise", (64, 205, 195), ["teal"]),
    ("blue", (50, 95, 200), []),
    ("purple", (130, 70, 190), ["violet"]),
    ("pink", (255, 170, 200), []),
    ("brown", (125, 80, 50), []),
]
