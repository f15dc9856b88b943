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

#: length of the beginning of a line in messages
_QUOTED = 60

_NAME = r"[a-zA-Z_][a-zA-Z0-9_]*+"
_TEXT = r'[^"\\]*+(?:\\.[^"\\]*+)*+'
_LABEL = re.compile(rf'({_NAME})\s*+=\s*+"({_TEXT})"')
_LABELS = re.compile(rf'(?:\s*+{_NAME}\s*+=\s*+"{_TEXT}"\s*+(?:,|$))*+\s*+')
_FULL_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*+")
_ESCAPE = re.compile(r"\\(.)")
_LINE = re.compile(
    r"[ \t]*+(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*+)"
    rf'(?:[ \t]*+\{{(?P<block>(?:[^"}}]++|"{_TEXT}")*+)\}}[ \t]*+|[ \t]++)'
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

    def add(self, name: str, block: str, value: float, number: int) -> None:
        """Take the sample of line `number`, unless the page has it already."""
        series = self.samples.setdefault(name, {})
        if series.setdefault(block, value) is not value:
            self.reject(number, name, "printed twice")

    def note_type(self, line: str) -> None:
        """Take a `# TYPE` line."""
        words = line.split()
        if len(words) == 4:
            self.types[words[2]] = words[3]

    def reject(self, number: int, line: str, why: str) -> None:
        """Note a line that is not taken, by its beginning alone: labels may tell of a person."""
        if len(self.rejected) < MAX_QUOTED:
            start = re.split(r'[{"=]', line, maxsplit=1)[0][:_QUOTED]
            self.rejected.append(f"line {number} {start!r}: {why}")


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
        page, blocks = Page(), self._blocks
        for number, line in enumerate(text.split("\n"), 1):
            if line[:1] in "#\r":
                if line.startswith("# TYPE "):
                    page.note_type(line)
                continue
            brace = line.find("{")
            name = line[:brace] if brace >= 0 else line.partition(" ")[0]
            if names is not None and name not in names and (name.isidentifier() or _bare(name) not in names):
                continue
            end = line.rfind("}") if brace >= 0 else len(name) - 1
            block = line[brace + 1 : end] if brace >= 0 else ""
            value = _number(line[end + 1 :])
            series = page.samples.get(name)
            if series is not None and value is not None and block in blocks and block not in series:
                series[block] = value
            elif value is not None and _FULL_NAME.fullmatch(name) and self._known(block):
                page.add(name, block, value, number)
            else:
                self._take_rare(line, number, page)
        return page

    def _take_rare(self, line: str, number: int, page: Page) -> None:
        """Take a line that is lawful but rare, blanks around the name or an exemplar behind the value, or reject it."""
        found = _LINE.match(line)
        value = _number(found["value"]) if found else None
        block = found["block"] or "" if found else ""
        if found is None or value is None or not self._known(block):
            page.reject(number, line, "no sample")
        else:
            page.add(found["name"], block, value, number)

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
    if not _LABELS.fullmatch(block):
        return None
    labels = dict(_LABEL.findall(block))
    if "\\" not in block:
        return labels
    return {name: _ESCAPE.sub(_unescape, text) for name, text in labels.items()}


def _unescape(found: re.Match[str]) -> str:
    return "\n" if found[1] == "n" else found[1]


def _bare(name: str) -> str:
    """Return the first word of what stands before the labels; the format allows blanks around a name."""
    return next(iter(name.split(None, 1)), "")


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
