/* nvmlDeviceGetFieldValues: power and its limits, energy, throttle times, links, health, by NVML's field ids. */
#include <stdio.h>

#include "nvml_board.h"

/* NVML's value types */
enum { UNSIGNED_INT = 1, UNSIGNED_LONG_LONG = 3, SIGNED_INT = 5 };
/* T.Limit counts down to 0 at the highest temperature of operation, and on below it. */
enum { SHUTDOWN_TLIMIT = -8, SLOWDOWN_TLIMIT = -2 };
/* Units: MB/s of one link of NVLink 4 and 5 */
enum { LINK_SPEED_4 = 26562, LINK_SPEED_5 = 53125 };

typedef struct {
    unsigned field, scope;
    long long timestamp, latency;
    unsigned type;
    int status;
    union { double d; int si; unsigned ui; unsigned long long ull; } value;
} field_t;
_Static_assert(sizeof(field_t) == 40, "ABI");

static int generation(int gpu) { return (int)said_or(gpu, "nvlink_gen", 4); }

int is_link_up(int gpu, unsigned link) { return link < LINKS - (unsigned)said_or(gpu, "nvlink_down", 0); }

double nvlink_bytes(int gpu, int sent) {
    double counted = counter(&state.gpus[gpu], sent ? NVLINK_TX_BYTES : NVLINK_RX_BYTES);
    return said_or(gpu, sent ? "nvlink_tx" : "nvlink_rx", counted);
}

/* The links share the traffic evenly; the first has what is left over. */
static double link_bytes(int gpu, int sent, unsigned link) {
    double all = floor(nvlink_bytes(gpu, sent)), share = floor(all / LINKS);
    return link < LINKS ? link ? share : all - share * (LINKS - 1) : NAN;
}

/* Errors and recoveries happen on the first link. */
static double on_first(int gpu, const char *key, unsigned link) {
    return link < LINKS ? link ? 0 : said_or(gpu, key, 0) : NAN;
}

double throttle_nanoseconds(int gpu, unsigned policy) {
    const struct gpu *board = &state.gpus[gpu];
    switch (policy) {
    case 74: return said_or(gpu, "viol_power", counter(board, THROTTLE_POWER_SECONDS) * 1e9);
    case 75: return said_or(gpu, "viol_thermal", counter(board, THROTTLE_THERMAL_SECONDS) * 1e9);
    case 76: return said_or(gpu, "viol_sync", 0);
    case 77: return said_or(gpu, "viol_board", 0);
    case 78: return said_or(gpu, "viol_low", 0);
    case 79: return said_or(gpu, "viol_reliability", 0);
    default: return NAN;
    }
}

/* The factory does not tell these causes apart: only a scenario does. */
static double throttle_cause_nanoseconds(int gpu, unsigned field) {
    switch (field) {
    case 269: return said(gpu, "viol_sw_thermal");
    case 270: return said(gpu, "viol_hw_thermal");
    default: return said(gpu, "viol_brake");
    }
}

static double limit_milliwatts(int gpu, unsigned field) {
    double limit = state.gpus[gpu].value[POWER_LIMIT_WATTS] * 1e3;
    switch (field) {
    case 187: return said_or(gpu, "power_min", fmin(limit, 200e3));
    case 188: return said_or(gpu, "power_max", limit);
    case 189: return said_or(gpu, "power_default", limit);
    case 192: return said_or(gpu, "power_requested", said_or(gpu, "power_limit", limit));
    default: return said_or(gpu, "power_limit", limit);
    }
}

static double power_field(int gpu, unsigned field, unsigned scope) {
    double power = power_milliwatts(gpu, scope);
    return floor(field == 185 && !scope ? said_or(gpu, "power_average", power) : power);
}

static double thermal_limit(unsigned field) {
    return field == 193 ? SHUTDOWN_TLIMIT : field == 194 ? SLOWDOWN_TLIMIT : 0;
}

static double remap_field(int gpu, unsigned field) {
    static const char *const keys[] = {"remap_cor", "remap_unc", "remap_pending", "remap_failure"};
    return said_or(gpu, keys[field - 142], 0);
}

/* NVLink up to generation 4: totals, KiB. */
static double older_link_field(int gpu, unsigned field, unsigned scope) {
    if (generation(gpu) > 4) return NAN;
    switch (field) {
    case 138: case 139:
        if ((int)scope == ALL_LINKS) return nvlink_bytes(gpu, field == 138) / 1024;
        return link_bytes(gpu, field == 138, scope) / 1024;
    case 45: return said_or(gpu, "nvlink_errors", 0);
    case 59: return said_or(gpu, "nvlink_recovery", 0);
    case 162: return on_first(gpu, "nvlink_recovery", scope);
    case 161: return scope < LINKS ? 0 : NAN;
    default: return 0; /* 38, 52, 160 */
    }
}

/* NVLink 5: per link, bytes. */
static double newer_link_field(int gpu, unsigned field, unsigned link) {
    if (generation(gpu) < 5 || link >= LINKS) return NAN;
    switch (field) {
    case 202: return link_bytes(gpu, 1, link);
    case 204: return link_bytes(gpu, 0, link);
    case 208: return on_first(gpu, "nvlink_errors", link);
    case 213: case 215: return on_first(gpu, "nvlink_recovery", link);
    default: return 0;
    }
}

static double link_field(int gpu, unsigned field, unsigned link) {
    if (field == 91) return LINKS;
    if (link >= LINKS) return NAN;
    if (field == 165) return is_link_up(gpu, link);
    return is_link_up(gpu, link) ? generation(gpu) < 5 ? LINK_SPEED_4 : LINK_SPEED_5 : 0;
}

/* Return what a field has and its value type; the numbers are NVML's field ids. */
static double field_value(int gpu, unsigned field, unsigned scope, unsigned *type) {
    *type = UNSIGNED_LONG_LONG;
    switch (field) {
    case 38: case 45: case 52: case 59: case 138: case 139: case 160: case 161: case 162:
        return older_link_field(gpu, field, scope);
    case 74: case 75: case 76: case 77: case 78: case 79: return throttle_nanoseconds(gpu, field);
    case 83: case 191: return energy_millijoules(gpu);
    case 94: return said_or(gpu, "replay", 0);
    case 197: case 198: return pcie_bytes(gpu, field == 197);
    case 202: case 204: case 206: case 207: case 208: case 209: case 210: case 211: case 212: case 213: case 214:
    case 215: case 219: case 221:
        return newer_link_field(gpu, field, scope);
    case 269: case 270: case 271: return throttle_cause_nanoseconds(gpu, field);
    }
    if (field >= 173 && field <= 183) return 0; /* PCIe errors */
    if (field >= 235 && field <= 250) return newer_link_field(gpu, field, scope);
    *type = UNSIGNED_INT;
    switch (field) {
    case 82: return said_or(gpu, "memtemp", state.gpus[gpu].value[MEMORY_TEMPERATURE_CELSIUS]);
    case 91: case 164: case 165: return link_field(gpu, field, scope);
    case 142: case 143: case 144: case 145: return remap_field(gpu, field);
    case 185: case 186: return power_field(gpu, field, scope);
    case 187: case 188: case 189: case 190: case 192: return limit_milliwatts(gpu, field);
    case 230: return said_or(gpu, "recovery", 0);
    case 193: case 194: case 195: case 196: *type = SIGNED_INT; return thermal_limit(field);
    }
    return NAN;
}

static int read_field(int gpu, field_t *field) {
    char key[32];
    snprintf(key, sizeof key, "field_%u_error", field->field);
    int error = injected(gpu, key);
    if (error) return error;
    snprintf(key, sizeof key, "field_%u", field->field);
    unsigned type;
    double number = said_or(gpu, key, field_value(gpu, field->field, field->scope, &type));
    if (isnan(number)) return NOT_SUPPORTED;
    field->type = type;
    field->timestamp = system_seconds() * 1e6;
    field->latency = 0;
    field->value.ull = 0;
    if (field->type == UNSIGNED_INT) field->value.ui = number;
    else if (field->type == SIGNED_INT) field->value.si = number;
    else field->value.ull = number;
    return SUCCESS;
}

/* An instance has no sensors of its own: only the board's handle gives fields. */
int nvmlDeviceGetFieldValues(void *handle, int count, field_t *fields) {
    OPEN(handle);
    for (int n = 0; n < count; n++) fields[n].status = read_field(i, &fields[n]);
    return SUCCESS;
}

int nvmlDeviceGetNvLinkState(void *handle, unsigned link, unsigned *out) {
    OPEN(handle);
    if (link >= LINKS) return INVALID_ARGUMENT;
    GIVE(*out, is_link_up(i, link));
}
