"""Formulas of the site and of the slides: as MathML, and the letters they are drawn with.

Browsers take a formula's signs from a font that knows how they grow and stack; phones and many Linux
machines have none. So what is needed of STIX Two Math comes along, from an installed package, inside the
style sheet: a page that was opened from a folder may not be allowed to read a font from a file.
"""

import base64
import re
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from math_core import LatexToMathML

# Signs that stand in no formula, and are drawn: italics of single letters, and the root of <msqrt>.
DRAWN = {*map(chr, range(0x1D434, 0x1D468)), *map(chr, range(0x1D6FC, 0x1D71C)), "ℎ", "√"}
PRIME = re.compile("<msup>(<mi>.</mi>)<mo>′</mo></msup>")  # small and high already: no exponent
LICENCE = (
    "/* STIX Two Math, a part of it: The STIX Fonts Project Authors, SIL Open Font License 1.1 */"
)


def formula(tex: str, options: dict[str, bool]) -> str:
    """Return a formula as MathML, which browsers draw by themselves; math_core.LatexError if it is none.

    `options["display_mode"]`: it stands on a line of its own.
    """
    to_mathml = LatexToMathML(fancy_error=False)
    mathml = to_mathml.convert_with_local_state(tex, displaystyle=options["display_mode"])
    return PRIME.sub(r'<mrow>\1<mo lspace="0" rspace="0">′</mo></mrow>', mathml)


def math_font(html: str) -> str:
    """Return the font as a rule of a style sheet, with the signs of the formulas in some pages."""
    signs = set().union(*re.findall("<math.*?</math>", html, re.DOTALL))
    package = Path(find_spec("ziamath").origin).parent  # not imported: only its file is wanted
    file = package / "fonts" / "STIXTwoMath-Regular.ttf"
    font = TTFont(file, recalcTimestamp=False)  # the same bytes each time
    options = Options()
    options.layout_features = []  # other forms of the same letters
    options.hinting = False
    subsetter = Subsetter(options)
    subsetter.populate(text="".join(sorted(signs | DRAWN)))
    subsetter.subset(font)
    _narrow_roots(font)
    font.flavor = "woff"
    packed = BytesIO()
    font.save(packed, reorderTables=False)
    data = base64.b64encode(packed.getvalue()).decode()
    return (
        f'{LICENCE}\n@font-face {{\n  font-family: "Course Math";\n  font-display: block;\n'
        f'  src: url("data:font/woff;base64,{data}") format("woff");\n}}\n'
    )


def _narrow_roots(font: TTFont) -> None:
    """Make the tall signs of the root as narrow as the small one.

    Chromium keeps room for the widest of them, and a gap would follow every root.
    """
    variants = font["MATH"].table.MathVariants
    small = font.getBestCmap()[ord("√")]
    signs = variants.VertGlyphConstruction[variants.VertGlyphCoverage.glyphs.index(small)]
    signs.GlyphAssembly = None  # the one that grows without end is the widest
    width, _ = font["hmtx"][small]
    for name in (record.VariantGlyph for record in signs.MathGlyphVariantRecord):
        was, left = font["hmtx"][name]
        glyph = font["glyf"][name]
        glyph.coordinates.scale((width / was, 1))
        glyph.coordinates.toInt()
        glyph.recalcBounds(font["glyf"])
        font["hmtx"][name] = (width, round(left * width / was))
