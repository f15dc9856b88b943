"""NVLink by generation: up to the fourth a board tells sums, in KiB; the fifth (Blackwell) tells each link, in bytes.

Source: NVIDIA nvml.h, API 13, NVML_FI_DEV_NVLINK_*.
"""

import pynvml

from collectors.nvml.agent.board import Board
from collectors.nvml.agent.calls import NOT_SUPPORTED, FieldId, Values

ALL_LINKS = 0xFFFFFFFF
SENT, RECEIVED = (138, ALL_LINKS), (139, ALL_LINKS)
SENT_BYTES, RECEIVED_BYTES = 202, 204
RECOVERY_EVENTS, RECOVERIES = 215, (59, 0)
#: CRC of flits, CRC of data, replays
ERRORS: list[FieldId] = [(38, 0), (45, 0), (52, 0)]
#: malformed, buffer overrun, received, remote, general, link integrity, discarded when sent
ERRORS_PER_LINK = (206, 207, 208, 209, 210, 211, 212)


def traffic(board: Board) -> Values:
    """Return the bytes over all links."""
    got = board.fields([SENT, RECEIVED])
    if SENT not in got or RECEIVED not in got:
        raise pynvml.NVMLError(NOT_SUPPORTED)
    return {"nvlink_tx_bytes_total": got[SENT] * 1024, "nvlink_rx_bytes_total": got[RECEIVED] * 1024}


def traffic_per_link(board: Board) -> Values:
    """Return the bytes over all links, each asked."""
    count(board)
    sent, received = board.link_sum((SENT_BYTES,)), board.link_sum((RECEIVED_BYTES,))
    return {"nvlink_tx_bytes_total": sent, "nvlink_rx_bytes_total": received}


def recoveries_per_link(board: Board) -> Values:
    """Return the recoveries of all links, each asked."""
    count(board)
    return {"nvlink_recovery_total": board.link_sum((RECOVERY_EVENTS,))}


def recoveries(board: Board) -> Values:
    """Return the recoveries of all links."""
    got = board.fields([RECOVERIES])
    return {"nvlink_recovery_total": got[RECOVERIES]} if got else {}


def errors_per_link(board: Board) -> Values:
    """Return the errors of all links, each asked."""
    count(board)
    return {"nvlink_error_total": board.link_sum(ERRORS_PER_LINK)}


def errors(board: Board) -> Values:
    """Return the errors of all links."""
    got = board.fields(ERRORS)
    return {"nvlink_error_total": sum(got.values())} if got else {}


def down(board: Board) -> Values:
    """Return how many links are not active; nothing while none ever was, as on a board without a bridge."""
    number = count(board)
    states = [board.call("nvmlDeviceGetNvLinkState", link) for link in range(number)]
    board.is_linked = board.is_linked or any(states)
    return {"nvlink_down_count": states.count(0)} if board.is_linked else {}


def count(board: Board) -> int:
    """Return the number of links, found once.

    Raises:
        NVMLError: the board has none.
    """
    if board.links is None:
        board.links = next(link for link in range(pynvml.NVML_NVLINK_MAX_LINKS + 1) if not _has(board, link))
    if not board.links:
        raise pynvml.NVMLError(NOT_SUPPORTED)
    return board.links


def _has(board: Board, link: int) -> bool:
    is_one = link < pynvml.NVML_NVLINK_MAX_LINKS
    return is_one and board.context.calls.probe("nvmlDeviceGetNvLinkState", board.handle, link) is not None
