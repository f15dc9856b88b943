"""Calls to NVML, each counted and timed under its own name, and what its error codes mean.

Source: NVIDIA nvml.h, API 13, nvmlReturn_t.
"""

import os
import time
from contextlib import suppress
from typing import Any

import pynvml

Values = dict[str, float]
FieldId = tuple[int, int]

NOT_SUPPORTED, FUNCTION_NOT_FOUND = 3, 13
#: not supported, function not found, version mismatch
ABSENT = frozenset({NOT_SUPPORTED, FUNCTION_NOT_FOUND, 25})
#: no permission, in use
DENIED = frozenset({4, 19})
#: GPU is lost, reset required
LOST = frozenset({15, 16})
#: uninitialised, library and driver versions differ, unknown, driver not loaded, access taken away by the system
GONE = frozenset({1, 18, 999, 9, 17})
#: invalid argument, not found: a handle or an index that is not there
INVALID_ARGUMENT = 2
NOWHERE = frozenset({INVALID_ARGUMENT, 6})
#: library and driver are of two versions: the driver was changed, and this process keeps the library that it has
MISMATCH = 18

#: attribute of the value union by value type: double, uint, ulong, ulonglong, longlong, int, ushort
_UNION = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")


class Calls:
    """Make calls and keep for each name how many there were, how many failed, and how long they took in seconds."""

    def __init__(self) -> None:
        self.counts: dict[str, list[float]] = {}

    def __call__(self, name: str, *arguments: Any, quiet: frozenset[int] = ABSENT, **options: Any) -> Any:
        """Return what the call gives. Its errors are counted, but for those in `quiet`.

        Raises:
            NVMLError: as NVML says; function not found where the installed binding is older than the call.
        """
        count = self.counts.get(name) or self.counts.setdefault(name, [0, 0, 0.0])
        start = time.perf_counter()
        try:
            return getattr(pynvml, name)(*arguments, **options)
        except AttributeError as e:
            raise pynvml.NVMLError(FUNCTION_NOT_FOUND) from e
        except UnicodeDecodeError as e:
            # A text of a board whose InfoROM is corrupted; the binding cannot decode it.
            raise pynvml.NVMLError(NOT_SUPPORTED) from e
        except pynvml.NVMLError as error:
            count[1] += error.value not in quiet
            raise
        finally:
            count[0] += 1
            count[2] += time.perf_counter() - start

    def probe(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Return what the call gives, or None where the board cannot tell, as with a corrupted InfoROM.

        Raises:
            NVMLError: the board is lost, or the driver is gone.
        """
        try:
            return self(name, *arguments, quiet=ABSENT | NOWHERE, **options)
        except pynvml.NVMLError as error:
            if error.value in LOST | GONE:
                raise
            return None

    def free(self, name: str, *arguments: Any) -> None:
        """Give something back; a driver that has gone away, and refuses, has it already."""
        with suppress(pynvml.NVMLError):
            self(name, *arguments)

    def fields(self, handle: Any, asked: list[FieldId]) -> list[tuple[int, float]]:
        """Return NVML's code and the value of each field, all read in one call."""
        return [_value(field) for field in self("nvmlDeviceGetFieldValues", handle, asked)]


def _value(field: Any) -> tuple[int, float]:
    if field.nvmlReturn:
        return field.nvmlReturn, 0
    if field.valueType >= len(_UNION):  # of a driver newer than this binding
        return NOT_SUPPORTED, 0
    return 0, getattr(field.value, _UNION[field.valueType])


def attach(library: str) -> None:
    """Make the binding use another library than the system's, if one is named; a Python file stands in for one.

    Raises:
        OSError: it cannot be loaded.
    """
    if library.endswith(".py"):
        import importlib.util

        spec = importlib.util.spec_from_file_location("stand_in", library)
        if spec is None or spec.loader is None:
            raise OSError(f"{library}: no Python file")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        pynvml.nvmlLib = module.open_library()
    elif library:
        import ctypes

        pynvml.nvmlLib = ctypes.CDLL(library)


def binding_complaint(module: Any = pynvml) -> str:
    """Return why the installed module `pynvml` is not the binding that we need, or "".

    The distribution `pynvml` before 11.5 and nvidia-ml-py install the same module name, and the former wins.
    """
    needed = ("nvmlLib", "nvmlInitWithFlags", "nvmlDeviceGetFieldValues", "nvmlMemory_v2", "nvmlEventSetWait_v2")
    lacking = [name for name in needed if not hasattr(module, name)]
    if not lacking and not hasattr(module, "__path__"):
        return ""
    where = os.path.dirname(str(module.__file__)) if hasattr(module, "__path__") else module.__file__  # noqa: PTH120
    return (
        f"the module pynvml in {where} is not that of nvidia-ml-py"
        f"{', it lacks ' + ', '.join(lacking) if lacking else ''}: the old distribution pynvml overwrites it; "
        "pip uninstall pynvml, then pip install --force-reinstall nvidia-ml-py"
    )
