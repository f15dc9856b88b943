"""What is wrong with a gNMI profile, each mistake where it stands in the file."""

from collections.abc import Iterator

from collectors.gnmi.leaves import read_address
from collectors.gnmi.rows import Each
from collectors.profile import Mistake, Profile
from collectors.profile_names import section_mistakes
from storage.config import InvalidValueError, suggest


def check_profile(profile: Profile) -> Iterator[Mistake]:
    """Yield every mistake in `transport`, `match`, `each` and in the points' addresses."""
    for key in profile.transport:
        yield ("transport", key), InvalidValueError("gNMI takes its switches from the target", "take `transport` out")
    for key in profile.match:
        if key != "model":
            yield ("match", key), InvalidValueError("unknown key", suggest(key, ["model"]))
    for number, group in enumerate(profile.groups):
        at = ("groups", number)
        yield from section_mistakes((*at, "each"), group.each, Each)
        for index, spec in enumerate(group.points):
            for text in spec.addresses:
                try:
                    read_address(text)
                except ValueError as error:
                    hint = "write a leaf, or function(leaf): see collectors/gnmi/leaves.py"
                    yield (*at, "points", index, "at"), InvalidValueError(str(error).removeprefix("at: "), hint)
