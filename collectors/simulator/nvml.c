/* A libnvidia-ml.so.1 of our own: the NVML calls that a collector makes, answered from files beside the library.
 *
 * `nvml.state` is what the factory's physics say; `nvml_state.h`, which nvml.py generates, gives the place of each
 * quantity. Counters are carried on from the file's time to the moment of the call, up to one step of the physics, so
 * that they are exact and never go back. A quantity that is NaN in the file is one that this board does not have: the
 * call answers NOT_SUPPORTED. `nvml.scenario` is what a test or an operator says over it (nvml_scenario.c).
 *
 * Here: the system, the boards and their plain values. Fields: nvml_fields.c; profiling: nvml_gpm.c; events:
 * nvml_events.c; instances, platform and fabric: nvml_topology.c; calls that nobody should make: nvml_forbidden.c.
 *
 * Source: behaviour and struct layouts as the public NVML API documents them; no NVIDIA header or code. The layouts are
 * held against the nvidia-ml-py binding by tests.
 */
#define _GNU_SOURCE
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "nvml_board.h"

enum { CUDA_VERSION = 13000, HOPPER = 9, BLACKWELL = 10, FIRST_PID = 1000 };

typedef struct { unsigned gpu, memory; } utilization_t;
typedef struct { unsigned long long total, free, used; } memory_v1_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2_t;
typedef struct { unsigned version, sensor; int celsius; } temperature_t;
typedef struct { unsigned version; int celsius; } margin_t;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } pci_t;
typedef struct { unsigned pid; unsigned long long bytes; unsigned gi, ci; } process_t;
typedef struct { unsigned pid; unsigned long long time; unsigned sm, memory, encoder, decoder; } process_utilization_t;

_Static_assert(sizeof(utilization_t) == 8 && sizeof(memory_v1_t) == 24 && sizeof(memory_v2_t) == 40, "ABI");
_Static_assert(sizeof(margin_t) == 8 && sizeof(temperature_t) == 12 && sizeof(pci_t) == 68, "ABI");
_Static_assert(sizeof(process_t) == 24 && sizeof(process_utilization_t) == 32, "ABI");

static atomic_int references;

int is_initialized(void) { return references > 0; }

int shown(void) { return (int)fmin(fmax(said_or(ALL_BOARDS, "count", state.header.count), 0), state.header.count); }

int instances(int gpu) { return (int)fmin(fmax(said_or(gpu, "mig", 0), 0), INSTANCES); }

/* A handle is the board's number from one on, and the instance's above it. */
void *handle_of(int index, int instance) { return (void *)((size_t)instance << 8 | (size_t)(index + 1)); }

int open_board(const char *call, const void *handle, struct board *board) {
    if (!references) return UNINITIALIZED;
    int error = refresh();
    if (error) return error;
    int index = (int)((size_t)handle & 255) - 1, instance = (int)((size_t)handle >> 8);
    if (index < 0 || index >= state.header.count) return INVALID_ARGUMENT;
    *board = (struct board){index, instance, &state.gpus[index]};
    if (index >= shown() || board->gpu->value[LOST] != 0) return GPU_IS_LOST;
    if ((error = injected(index, "error")) || (error = injected(index, call))) return error;
    return instance > instances(index) ? INVALID_ARGUMENT : SUCCESS;
}

int copy_text(char *to, unsigned size, const char *text) {
    if (strlen(text) >= size) return INSUFFICIENT_SIZE;
    strcpy(to, text);
    return SUCCESS;
}

#define TEXT(name, text) \
    int name(void *handle, char *out, unsigned size) { OPEN(handle); return copy_text(out, size, text); }

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    int error = refresh();
    if (!error) error = injected(ALL_BOARDS, "init_error");
    if (!error) references++;
    return error;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) {
    if (!references) return UNINITIALIZED;
    references--;
    return injected(ALL_BOARDS, __func__);
}
const char *nvmlErrorString(int error) {
    switch (error) {
    case SUCCESS: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NO_PERMISSION: return "Insufficient Permissions";
    case NOT_FOUND: return "Not Found";
    case INSUFFICIENT_SIZE: return "Insufficient Size";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case TIMEOUT: return "Timeout";
    case GPU_IS_LOST: return "GPU is lost";
    case ARGUMENT_VERSION_MISMATCH: return "Argument version mismatch";
    default: return "Unknown Error";
    }
}
int nvmlSystemGetDriverVersion(char *out, unsigned size) {
    if (!references) return UNINITIALIZED;
    int error = refresh();
    if (!error) error = injected(ALL_BOARDS, __func__);
    if (error) return error;
    double other = said(ALL_BOARDS, "driver");
    char text[32];
    snprintf(text, sizeof text, "%.2f", other);
    return copy_text(out, size, isnan(other) ? state.header.driver : text);
}
int nvmlSystemGetNVMLVersion(char *out, unsigned size) { return nvmlSystemGetDriverVersion(out, size); }
int nvmlSystemGetCudaDriverVersion_v2(int *out) {
    *out = CUDA_VERSION;
    return references ? SUCCESS : UNINITIALIZED;
}
int nvmlSystemGetCudaDriverVersion(int *out) { return nvmlSystemGetCudaDriverVersion_v2(out); }

int nvmlDeviceGetCount_v2(unsigned *out) {
    if (!references) return UNINITIALIZED;
    int error = refresh();
    if (!error) error = injected(ALL_BOARDS, __func__);
    if (!error) *out = shown();
    return error;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **out) {
    if (!references) return UNINITIALIZED;
    int error = refresh();
    if (error) return error;
    if (index >= (unsigned)shown()) return INVALID_ARGUMENT;
    if (state.gpus[index].value[LOST] != 0) return GPU_IS_LOST;
    *out = handle_of(index, 0);
    return injected(index, "handle_error");
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **out) {
    char own[NAME_SIZE];
    if (!references) return UNINITIALIZED;
    int error = refresh();
    if (error) return error;
    for (int i = 0; i < shown(); i++) {
        if (!strcmp(state.gpus[i].uuid, uuid)) return nvmlDeviceGetHandleByIndex_v2(i, out);
        for (int instance = 1; instance <= instances(i); instance++) {
            write_instance_uuid(own, &(struct board){i, instance, &state.gpus[i]});
            if (strcmp(own, uuid)) continue;
            *out = handle_of(i, instance);
            return injected(i, "handle_error");
        }
    }
    return NOT_FOUND;
}
int nvmlDeviceGetUUID(void *handle, char *out, unsigned size) {
    char own[NAME_SIZE];
    OPEN_ANY(handle);
    if (board.instance) write_instance_uuid(own, &board);
    return copy_text(out, size, board.instance ? own : gpu->uuid);
}
int nvmlDeviceGetName(void *handle, char *out, unsigned size) {
    char own[NAME_SIZE];
    OPEN_ANY(handle);
    if (board.instance) write_instance_name(own, &board);
    return copy_text(out, size, board.instance ? own : state.header.model);
}

TEXT(nvmlDeviceGetSerial, gpu->serial)
TEXT(nvmlDeviceGetVbiosVersion, state.header.vbios)
GETTER(nvmlDeviceGetIndex, unsigned, i)
GETTER(nvmlDeviceGetMinorNumber, unsigned, i)
GETTER(nvmlDeviceGetModuleId, unsigned, said_or(i, "module_id", i + 1))
GETTER(nvmlDeviceGetPerformanceState, unsigned, 0)
GETTER(nvmlDeviceGetPersistenceMode, unsigned, 1)
GETTER(nvmlDeviceGetPcieReplayCounter, unsigned, said_or(i, "replay", 0))
GETTER(nvmlDeviceGetCurrPcieLinkGeneration, unsigned, said_or(i, "pcie_gen", 5))
GETTER(nvmlDeviceGetCurrPcieLinkWidth, unsigned, said_or(i, "pcie_width", 16))
GETTER(nvmlDeviceGetMaxPcieLinkGeneration, unsigned, 5)
GETTER(nvmlDeviceGetMaxPcieLinkWidth, unsigned, 16)
GETTER(nvmlDeviceGetPowerUsage, unsigned, floor(power_milliwatts(i, 0)))
GETTER(nvmlDeviceGetEnforcedPowerLimit, unsigned, said_or(i, "power_limit", gpu->value[POWER_LIMIT_WATTS] * 1e3))
GETTER(nvmlDeviceGetPowerManagementLimit, unsigned, said_or(i, "power_limit", gpu->value[POWER_LIMIT_WATTS] * 1e3))
GETTER(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, said_or(i, "reasons", gpu->value[CLOCK_EVENT_MASK]))
int nvmlDeviceGetCurrentClocksThrottleReasons(void *handle, unsigned long long *out) { /* the older name */
    return nvmlDeviceGetCurrentClocksEventReasons(handle, out);
}

int nvmlDeviceGetArchitecture(void *handle, unsigned *out) {
    OPEN(handle);
    const char *model = state.header.model;
    *out = strstr(model, "B100") || strstr(model, "B200") || strstr(model, "B300") ? BLACKWELL : HOPPER;
    return SUCCESS;
}
int nvmlDeviceGetEccMode(void *handle, unsigned *current, unsigned *pending) {
    OPEN(handle);
    *current = *pending = 1;
    return SUCCESS;
}
int nvmlDeviceGetPciInfo_v3(void *handle, pci_t *out) {
    OPEN(handle);
    memset(out, 0, sizeof *out);
    snprintf(out->legacy, sizeof out->legacy, "%s", strlen(gpu->pci) > 4 ? gpu->pci + 4 : "");
    sscanf(gpu->pci, "%x:%x:%x", &out->domain, &out->bus, &out->device);
    return copy_text(out->bus_id, sizeof out->bus_id, gpu->pci);
}

double power_milliwatts(int gpu, unsigned scope) {
    double board = said_or(gpu, "power", state.gpus[gpu].value[POWER_WATTS] * 1e3);
    switch (scope) {
    case 0: return board;
    case 1: return said(gpu, "module_power");
    case 2: return said(gpu, "power_memory");
    case 3: return said(gpu, "power_base");
    default: return NAN;
    }
}
double pcie_bytes(int gpu, int sent) { return said(gpu, sent ? "pcie_tx" : "pcie_rx"); }

int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *out) {
    OPEN(handle);
    double delay = i == 0 ? state.header.delay : 0;
    struct timespec nap = {(time_t)delay, (long)((delay - floor(delay)) * 1e9)};
    if (delay > 0) nanosleep(&nap, NULL);
    GIVE(*out, energy_millijoules(i));
}
int nvmlDeviceGetUtilizationRates(void *handle, utilization_t *out) {
    OPEN(handle);
    double busy = said_or(i, "util", rint(gpu->value[UTILIZATION_RATIO] * 100));
    if (isnan(busy) || instances(i)) return NOT_SUPPORTED;
    out->gpu = busy;
    out->memory = said_or(i, "memutil", rint(gpu->value[MEMORY_COPY_RATIO] * 100));
    return SUCCESS;
}

/* An instance has its even share of the board. */
static memory_v2_t memory_of(const struct board *board) {
    double share = board->instance ? 1.0 / instances(board->index) : 1.0;
    memory_v2_t memory = {0};
    memory.total = board->gpu->value[MEMORY_TOTAL_BYTES] * share;
    memory.reserved = board->gpu->value[MEMORY_RESERVED_BYTES] * share;
    memory.used = said_or(board->index, "memused", board->gpu->value[MEMORY_USED_BYTES]) * share;
    memory.free = memory.total - memory.reserved - memory.used;
    return memory;
}
int nvmlDeviceGetMemoryInfo_v2(void *handle, memory_v2_t *out) {
    OPEN_ANY(handle);
    WANT_VERSION(out->version, 2, sizeof *out);
    unsigned version = out->version;
    *out = memory_of(&board);
    out->version = version;
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo(void *handle, memory_v1_t *out) {
    OPEN_ANY(handle);
    memory_v2_t memory = memory_of(&board);
    *out = (memory_v1_t){memory.total, memory.free, memory.used + memory.reserved};
    return SUCCESS;
}
int nvmlDeviceGetBAR1MemoryInfo(void *handle, memory_v1_t *out) { /* as large as the memory, a part of it in use */
    OPEN(handle);
    unsigned long long total = gpu->value[MEMORY_TOTAL_BYTES], used = gpu->value[MEMORY_RESERVED_BYTES];
    *out = (memory_v1_t){total, total - used, used};
    return SUCCESS;
}

static double celsius(int gpu) { return said_or(gpu, "temp", state.gpus[gpu].value[TEMPERATURE_CELSIUS]); }

int nvmlDeviceGetTemperature(void *handle, unsigned sensor, unsigned *out) {
    OPEN(handle);
    if (sensor) return INVALID_ARGUMENT;
    GIVE(*out, celsius(i));
}
int nvmlDeviceGetTemperatureV(void *handle, temperature_t *out) {
    OPEN(handle);
    WANT_VERSION(out->version, 1, sizeof *out);
    if (out->sensor) return INVALID_ARGUMENT;
    GIVE(out->celsius, celsius(i));
}
int nvmlDeviceGetMarginTemperature(void *handle, margin_t *out) {
    OPEN(handle);
    WANT_VERSION(out->version, 1, sizeof *out);
    GIVE(out->celsius, said_or(i, "margin", SLOWDOWN_CELSIUS - trunc(celsius(i))));
}
int nvmlDeviceGetClockInfo(void *handle, unsigned type, unsigned *out) { /* 0 graphics, 1 SM, 2 memory, 3 video */
    OPEN(handle);
    if (type == 2) GIVE(*out, gpu->value[MEMORY_CLOCK_HERTZ] / 1e6);
    GIVE(*out, said_or(i, "sm_clock", gpu->value[SM_CLOCK_HERTZ] / 1e6));
}
int nvmlDeviceGetMaxClockInfo(void *handle, unsigned type, unsigned *out) {
    OPEN(handle);
    GIVE(*out, gpu->value[type == 2 ? MEMORY_CLOCK_HERTZ : SM_CLOCK_MAX_HERTZ] / 1e6);
}
int nvmlDeviceGetTotalEccErrors(void *handle, unsigned type, unsigned place, unsigned long long *out) {
    OPEN(handle);
    if (type > 1 || place > 1) return INVALID_ARGUMENT;
    GIVE(*out, said_or(i, type ? "ecc_dbe" : "ecc_sbe", 0));
}
int nvmlDeviceGetRemappedRows(void *handle, unsigned *corrected, unsigned *uncorrected, unsigned *pending,
                              unsigned *failed) {
    OPEN(handle);
    *corrected = said_or(i, "remap_cor", 0), *uncorrected = said_or(i, "remap_unc", 0);
    *pending = said_or(i, "remap_pending", 0), *failed = said_or(i, "remap_failure", 0);
    return SUCCESS;
}

static int processes(int gpu) { return (int)fmax(said_or(gpu, "nproc", state.gpus[gpu].value[PROCESS_COUNT]), 0); }

/* Under MIG the processes take turns on the instances; an instance shows its own only. */
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, process_t *out) {
    OPEN_ANY(handle);
    unsigned all = processes(i), parts = instances(i), room = *count, pid = said_or(i, "pid", FIRST_PID);
    double bytes = said_or(i, "memused", gpu->value[MEMORY_USED_BYTES]);
    *count = 0;
    for (unsigned n = 0; n < all; n++) {
        unsigned instance = parts ? n % parts + 1 : ~0u;
        if (board.instance && instance != (unsigned)board.instance) continue;
        if (*count < room && out) out[*count] = (process_t){pid + n, bytes / all, instance, parts ? 0 : ~0u};
        ++*count;
    }
    return *count > room ? INSUFFICIENT_SIZE : SUCCESS;
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(void *handle, unsigned *count, process_t *out) {
    OPEN_ANY(handle);
    (void)out;
    *count = 0;
    return SUCCESS;
}
int nvmlDeviceGetProcessUtilization(void *handle, process_utilization_t *out, unsigned *count,
                                    unsigned long long after) {
    OPEN(handle);
    unsigned running = processes(i), room = *count;
    unsigned long long now = system_seconds() * 1e6;
    if (instances(i)) return NOT_SUPPORTED;
    if (after >= now) return NOT_FOUND;
    *count = running;
    if (running > room || !out) return running ? INSUFFICIENT_SIZE : SUCCESS;
    unsigned sm = said_or(i, "util", rint(gpu->value[UTILIZATION_RATIO] * 100)) / running;
    unsigned memory = said_or(i, "memutil", rint(gpu->value[MEMORY_COPY_RATIO] * 100)) / running;
    for (unsigned n = 0; n < running; n++)
        out[n] = (process_utilization_t){said_or(i, "pid", FIRST_PID) + n, now, sm, memory, 0, 0};
    return SUCCESS;
}
