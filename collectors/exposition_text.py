"""The Prometheus text format: from one page to samples, reading only the metrics that are asked for.

Source: Prometheus exposition formats, text 0.0.4; OpenMetrics 1.0 (its `# EOF` and exemplars are skipped). Samples keep
their name as printed: no `_total` is added. A sample's own time stamp is read over, since points carry the poll's.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

Labels = Mapping[str, str]

#: distinct label blocks kept per endpoint; a page with more churns, and the cache starts anew
MAX_BLOCKS = 50_000
#: lines that could not be read are quoted up to here
MAX_QUOTED = 20

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'\s*+([a-zA-Z_][a-zA-Z0-9_]*+)\s*+=\s*+"((?:[^"\\]|\\.)*+)"\s*+(?:,|$)')
_ESCAPE = re.compile(r"\\(.)")
_LINE = re.compile(
    r"[ \t]*+(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*+)"
    r'(?:[ \t]*+\{(?P<block>(?:[^"}]|"(?:[^"\\]|\\.)*+")*+)\}[ \t]*+|[ \t]++)'
    r"(?P<value>[^\s#{}]++)(?:[ \t]++-?[\d.eE+-]++)?+[ \t\r]*+(?:#.*+)?$"
)


@dataclass(frozen=True, slots=True)
class Page:
    """What one page says."""

    #: metric -> label block as printed -> value, NaN and infinities included
    samples: dict[str, dict[str, float]] = field(default_factory=dict)
    #: metric family -> counter, gauge, histogram, summary, untyped, unknown, info
    types: dict[str, str] = field(default_factory=dict)
    #: lines of the metrics asked for that are no sample, or one a second time
    rejected: list[str] = field(default_factory=list)

    def reject(self, why: str) -> None:
        """Note a line that is not taken."""
        if len(self.rejected) < MAX_QUOTED:
            self.rejected.append(why)


class Parser:
    """Read the pages of one endpoint; label blocks, which repeat from page to page, are taken apart once."""

    def __init__(self) -> None:
        self._blocks: dict[str, Labels] = {}

    def labels(self, block: str) -> Labels:
        """Return the labels of a block of the page that was parsed last."""
        return self._blocks[block]

    def parse(self, text: str, names: Collection[str] | None = None) -> Page:
        """Return the samples of the metrics `names`, or of all."""
        if len(self._blocks) > MAX_BLOCKS:
            self._blocks = {}
        page = Page()
        for line in text.split("\n"):
            if line[:1] in "#\r":
                words = line.split()
                if len(words) == 4 and words[:2] == ["#", "TYPE"]:
                    page.types[words[2]] = words[3]
                continue
            brace = line.find("{")
            name = line[:brace] if brace >= 0 else line.partition(" ")[0]
            plain = name in names if names is not None else _NAME.fullmatch(name) is not None
            if plain or names is None or _first_word(name) in names:
                self._take(line, name if plain else "", brace, page)
        return page

    def _take(self, line: str, name: str, brace: int, page: Page) -> None:
        end = line.rfind("}") if brace >= 0 else len(name) - 1
        block = line[brace + 1 : end] if brace >= 0 else ""
        value = _number(line[end + 1 :]) if name else None
        if value is None or not self._known(block):
            # Lawful but rare: blanks around the name, an exemplar behind the value.
            found = _LINE.match(line)
            value = _number(found["value"]) if found else None
            block = found["block"] or "" if found else ""
            if found is None or value is None or not self._known(block):
                page.reject(f"line {line[:120]!r}: no sample")
                return
            name = found["name"]
        series = page.samples.setdefault(name, {})
        if block in series:
            page.reject(f"{name}{{{block[:120]}}}: printed twice")
        else:
            series[block] = value

    def _known(self, block: str) -> bool:
        if block in self._blocks:
            return True
        labels = parse_labels(block)
        if labels is None:
            return False
        self._blocks[block] = labels
        return True


def parse_labels(block: str) -> dict[str, str] | None:
    r"""Return what stands between the braces, escapes (`\\`, `\"`, `\n`) resolved; None when it is malformed."""
    labels: dict[str, str] = {}
    at = 0
    while found := _LABEL.match(block, at):
        name, text = found.groups()
        labels[name] = _ESCAPE.sub(_unescape, text) if "\\" in text else text
        at = found.end()
    return None if block[at:].strip() else labels


def _unescape(found: re.Match[str]) -> str:
    return "\n" if found[1] == "n" else found[1]


def _first_word(name: str) -> str:
    words = name.split(None, 1)
    return words[0] if words else ""


def _number(text: str) -> float | None:
    # float() also takes 1_000, which the format does not.
    if "_" in text:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    words = text.split()
    if len(words) != 2:
        return None
    try:
        float(words[1])
        return float(words[0])
    except ValueError:
        return None
