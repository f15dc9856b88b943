"""How numbers are written in sentences: the unit after a space, a real minus (design system, section 9)."""


def percent(ratio: float) -> str:
    """Return a ratio in percent: whole from ten on, with one digit after the point from one on, below with its first.

    `0 %` is said of nothing alone: what is not nothing never looks like it.
    """
    size = abs(ratio)
    if 0 < size < 5e-5:
        return "<0.01 %"
    form = ".0f" if size >= 0.1 or ratio == 0 else ".1f" if size >= 0.01 else ".1g"
    return f"{100 * ratio:{form}} %".replace("-", "\u2212")
