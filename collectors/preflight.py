"""What a site's files say, tried out before the first packet: each collector made, and nothing opened."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from collectors.collector import CollectError, Target
from collectors.discovery import check_source
from collectors.inventory import Inventory, load_inventory
from collectors.poller import open_collector
from collectors.profile import Library, list_profiles
from collectors.settings import CollectorsSettings
from storage.config import ConfigError, InvalidValueError, Problem, problem_at
from storage.document import read_document


def load_files(settings: CollectorsSettings, library: Library) -> Inventory:
    """Return the site's inventory; read all of its own profiles too, since a device may turn out to be any of them.

    Raises:
        ConfigError: every mistake in the inventory and in the profiles.
    """
    inventory, problems = Inventory(), list[Problem]()
    try:
        if settings.inventory:
            inventory = load_inventory(settings.inventory)
    except ConfigError as error:
        problems += error.problems
    for name in list_profiles((settings.profiles,)) if settings.profiles else ():
        try:
            library.profile(name)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))
    return inventory


def check_targets(config: Path, settings: CollectorsSettings, targets: Sequence[Target], library: Library) -> None:
    """Make the collector of each target whose profile is known, and let it go; look at the lists' credentials.

    Raises:
        ConfigError: options, passwords and profiles that a protocol does not take, with their line in `config`.
    """
    problems: list[Problem] = []
    for number, target in enumerate(targets):
        if target.profile is None and target.protocol != "nvml":
            continue
        profile = library.profile(target.profile) if target.profile else None
        try:
            open_collector(target, profile)
        except ConfigError as error:
            # A collector knows the profile's name alone.
            file = library.path(str(target.profile))
            problems += [replace(problem, file=str(file)) for problem in error.problems]
        except CollectError as error:
            problems.append(_problem(config, ("targets", number), error))
    for number, source in enumerate(settings.discovery):
        try:
            check_source(source)
        except CollectError as error:
            problems.append(_problem(config, ("discovery", number), error))
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


def _problem(config: Path, at: tuple[object, ...], error: CollectError) -> Problem:
    document = read_document(config, os.environ)
    return problem_at(document, ("collectors", *at), InvalidValueError(str(error)))
