"""Money: what idle GPUs cost, and what a million tokens cost. Units of money are the settings'."""

JOULES_PER_KWH = 3.6e6
SECONDS_PER_HOUR = 3600.0


def idle_cost_per_hour(gpus: int, idle_watts: float, gpu_hour: float, tariff_per_kwh: float, pue: float = 1.0) -> float:
    """Return GPUs x money/(GPU h) + W / 1000 x PUE x money/kWh = money/h.

    The energy part is a few percent: the loss is capital.
    """
    return gpus * gpu_hour + energy_cost_per_hour(idle_watts, tariff_per_kwh, pue)


def energy_cost_per_hour(watts: float, tariff_per_kwh: float, pue: float = 1.0) -> float:
    """Return W x 3600 s/h / 3.6e6 J/kWh x PUE x money/kWh = money/h."""
    return watts * SECONDS_PER_HOUR / JOULES_PER_KWH * pue * tariff_per_kwh


def cost_per_million_tokens(gpu_hour: float, tokens_per_second_per_gpu: float) -> float | None:
    """Return money/(GPU h) x 1e6 / (3600 s/h x tokens/s/GPU) = money per million tokens; None without tokens.

    `gpu_hour` is a total cost of ownership: it holds the energy already.
    """
    if tokens_per_second_per_gpu <= 0:
        return None
    return gpu_hour * 1e6 / (SECONDS_PER_HOUR * tokens_per_second_per_gpu)
