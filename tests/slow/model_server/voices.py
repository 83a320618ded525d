"""What the tiny model and its adapters can say; apart, since both the server and the tests import it.

The model's own voice is the first; the others are adapters, in the order of their ids at the server.
"""

WORDS = {
    "gardener": "leaf root seed soil rain moss fern oak rose vine bud hedge lawn pond thorn bee",
    "sailor": "wave mast sail rope tide reef gull harbour anchor storm deck keel brine fog buoy knot",
    "baker": "dough oven crust flour yeast loaf knead bread sugar butter salt rye bun honey cake crumb",
}
VOICES = {name: words.split() for name, words in WORDS.items()}
BASE, *ADAPTERS = VOICES
