/* A libnvidia-ml.so.1 of our own: the NVML calls that a collector makes, answered from a state file.
 *
 * The state lies beside the library (`nvml.state`) and is read again whenever it was replaced; `nvml_state.h`, which
 * nvml.py generates, gives its layout and the place of each quantity. Counters are carried on from the file's time to
 * the moment of the call, up to one step of the physics, so that they are exact and never go back. A quantity that is NaN
 * in the file is one that this board does not have: the call answers NOT_SUPPORTED.
 *
 * Source: behaviour and struct layouts as the public NVML API documents them; no NVIDIA header or code. The layouts are
 * held against the nvidia-ml-py binding by a test.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "nvml_state.h" /* enum column { ... COLUMNS }; STEP_SECONDS; VERSION */

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9, GPU_IS_LOST = 15, ARGUMENT_VERSION_MISMATCH = 25
};
enum { MAX_GPUS = 16, LINKS = 18, ALL_LINKS = -1 };

struct header {
    char version[8];
    int count;
    int hang; /* calls block while it is set */
    double time, offset; /* epoch seconds of the state; the factory's clock minus the system's */
    double delay;        /* seconds by which the first board's energy comes late */
    char model[64], driver[32], vbios[32];
};
struct gpu {
    char uuid[48], serial[32], pci[32];
    double value[COLUMNS];
};
struct state {
    struct header header;
    struct gpu gpus[MAX_GPUS];
};

typedef struct { unsigned gpu, memory; } utilization_t;
typedef struct { unsigned long long total, free, used; } memory_v1_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_v2_t;
typedef struct { unsigned version, sensor; int celsius; } temperature_t;
typedef struct { unsigned version; int celsius; } margin_t;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; } pci_t;
typedef struct { unsigned pid; unsigned long long bytes; unsigned gi, ci; } process_t;
typedef struct {
    unsigned field, scope;
    long long timestamp, latency;
    unsigned type;
    int status;
    union { double d; unsigned ui; unsigned long long ull; } value;
} field_t;

_Static_assert(sizeof(utilization_t) == 8 && sizeof(memory_v1_t) == 24 && sizeof(memory_v2_t) == 40, "ABI");
_Static_assert(sizeof(margin_t) == 8 && sizeof(temperature_t) == 12 && sizeof(pci_t) == 68, "ABI");
_Static_assert(sizeof(process_t) == 24 && sizeof(field_t) == 40, "ABI");

static atomic_int references;
/* NVML may be called from any thread: each has its own copy of the state. */
static _Thread_local struct state state;
static _Thread_local struct stat seen;

static const char *state_path(void) {
    static _Thread_local char path[4096];
    Dl_info info;
    if (path[0] || !dladdr((void *)state_path, &info) || !info.dli_fname) return path;
    const char *slash = strrchr(info.dli_fname, '/');
    int length = slash ? (int)(slash - info.dli_fname) : 1;
    snprintf(path, sizeof path, "%.*s/nvml.state", length, slash ? info.dli_fname : ".");
    return path;
}

/* Read the file if it is another one than before. It is replaced as a whole, never written in place. */
static int refresh(void) {
    struct stat now;
    struct timespec nap = {0, 20000000};
    do {
        if (stat(state_path(), &now)) return DRIVER_NOT_LOADED;
        if (now.st_ino != seen.st_ino || now.st_mtim.tv_nsec != seen.st_mtim.tv_nsec ||
            now.st_mtim.tv_sec != seen.st_mtim.tv_sec) {
            FILE *file = fopen(state_path(), "rb");
            if (!file) return DRIVER_NOT_LOADED;
            size_t bytes = fread(&state, 1, sizeof state, file);
            fclose(file);
            if (bytes < sizeof state.header || memcmp(state.header.version, VERSION, 8) || state.header.count < 0 ||
                state.header.count > MAX_GPUS ||
                bytes < sizeof state.header + (size_t)state.header.count * sizeof(struct gpu))
                return DRIVER_NOT_LOADED;
            seen = now;
        }
        if (state.header.hang) nanosleep(&nap, NULL);
    } while (state.header.hang);
    return SUCCESS;
}

static double elapsed(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double seconds = now.tv_sec + now.tv_nsec * 1e-9 + state.header.offset - state.header.time;
    return seconds < 0 ? 0 : seconds > STEP_SECONDS ? STEP_SECONDS : seconds;
}

/* Give the GPU behind a handle, which is its number from one on. */
static int open_gpu(const void *handle, struct gpu **gpu) {
    if (!references) return UNINITIALIZED;
    int error = refresh();
    if (error) return error;
    size_t number = (size_t)handle;
    if (number < 1 || number > (size_t)state.header.count) return INVALID_ARGUMENT;
    *gpu = &state.gpus[number - 1];
    return (*gpu)->value[LOST] != 0 ? GPU_IS_LOST : SUCCESS;
}

static double counter(const struct gpu *gpu, enum column base) { /* its rate stands behind it */
    return gpu->value[base] + gpu->value[base + 1] * elapsed();
}

static int copy(char *to, unsigned size, const char *text) {
    if (strlen(text) >= size) return INSUFFICIENT_SIZE;
    strcpy(to, text);
    return SUCCESS;
}

#define OPEN(handle) \
    struct gpu *gpu; \
    int error = open_gpu(handle, &gpu); \
    if (error) return error;
#define GIVE(target, number) \
    do { \
        double number_ = (number); \
        if (isnan(number_)) return NOT_SUPPORTED; \
        (target) = number_; \
        return SUCCESS; \
    } while (0)
#define GETTER(name, type, number) \
    int name(void *handle, type *out) { OPEN(handle) GIVE(*out, number); }
#define TEXT(name, text) \
    int name(void *handle, char *out, unsigned size) { OPEN(handle) return copy(out, size, text); }

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    int error = refresh();
    if (!error) references++;
    return error;
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) {
    if (!references) return UNINITIALIZED;
    references--;
    return SUCCESS;
}
const char *nvmlErrorString(int error) {
    switch (error) {
    case SUCCESS: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NOT_FOUND: return "Not Found";
    case INSUFFICIENT_SIZE: return "Insufficient Size";
    case DRIVER_NOT_LOADED: return "Driver Not Loaded";
    case GPU_IS_LOST: return "GPU is lost";
    case ARGUMENT_VERSION_MISMATCH: return "Argument version mismatch";
    default: return "Unknown Error";
    }
}
int nvmlSystemGetDriverVersion(char *out, unsigned size) {
    if (!references) return UNINITIALIZED;
    int error = refresh();
    return error ? error : copy(out, size, state.header.driver);
}
int nvmlSystemGetNVMLVersion(char *out, unsigned size) { return nvmlSystemGetDriverVersion(out, size); }

int nvmlDeviceGetCount_v2(unsigned *out) {
    if (!references) return UNINITIALIZED;
    int error = refresh();
    *out = state.header.count;
    return error;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **out) {
    *out = (void *)(size_t)(index + 1);
    OPEN(*out)
    return SUCCESS;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, void **out) {
    if (!references) return UNINITIALIZED;
    int error = refresh();
    for (int i = 0; !error && i < state.header.count; i++)
        if (!strcmp(state.gpus[i].uuid, uuid)) return nvmlDeviceGetHandleByIndex_v2(i, out);
    return error ? error : NOT_FOUND;
}

TEXT(nvmlDeviceGetUUID, gpu->uuid)
TEXT(nvmlDeviceGetSerial, gpu->serial)
TEXT(nvmlDeviceGetName, state.header.model)
TEXT(nvmlDeviceGetVbiosVersion, state.header.vbios)
GETTER(nvmlDeviceGetIndex, unsigned, gpu - state.gpus)
GETTER(nvmlDeviceGetMinorNumber, unsigned, gpu - state.gpus)
GETTER(nvmlDeviceGetModuleId, unsigned, gpu - state.gpus + 1)
GETTER(nvmlDeviceGetPowerUsage, unsigned, floor(gpu->value[POWER_WATTS] * 1e3))
GETTER(nvmlDeviceGetEnforcedPowerLimit, unsigned, gpu->value[POWER_LIMIT_WATTS] * 1e3)
GETTER(nvmlDeviceGetPowerManagementLimit, unsigned, gpu->value[POWER_LIMIT_WATTS] * 1e3)
GETTER(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, gpu->value[CLOCK_EVENT_MASK])
GETTER(nvmlDeviceGetPcieReplayCounter, unsigned, 0)
GETTER(nvmlDeviceGetCurrPcieLinkGeneration, unsigned, 5)
GETTER(nvmlDeviceGetCurrPcieLinkWidth, unsigned, 16)

int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *out) {
    OPEN(handle)
    double delay = gpu == state.gpus ? state.header.delay : 0;
    struct timespec nap = {(time_t)delay, (long)((delay - floor(delay)) * 1e9)};
    if (delay > 0) nanosleep(&nap, NULL);
    GIVE(*out, floor(counter(gpu, ENERGY_JOULES) * 1e3));
}
int nvmlDeviceGetPciInfo_v3(void *handle, pci_t *out) {
    OPEN(handle)
    memset(out, 0, sizeof *out);
    snprintf(out->legacy, sizeof out->legacy, "%s", strlen(gpu->pci) > 4 ? gpu->pci + 4 : "");
    return copy(out->bus_id, sizeof out->bus_id, gpu->pci);
}
int nvmlDeviceGetUtilizationRates(void *handle, utilization_t *out) {
    OPEN(handle)
    if (isnan(gpu->value[UTILIZATION_RATIO])) return NOT_SUPPORTED;
    out->gpu = rint(gpu->value[UTILIZATION_RATIO] * 100);
    out->memory = rint(gpu->value[MEMORY_COPY_RATIO] * 100);
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo_v2(void *handle, memory_v2_t *out) {
    OPEN(handle)
    if (out->version != (2u << 24 | sizeof *out)) return ARGUMENT_VERSION_MISMATCH;
    out->total = gpu->value[MEMORY_TOTAL_BYTES];
    out->reserved = gpu->value[MEMORY_RESERVED_BYTES];
    out->used = gpu->value[MEMORY_USED_BYTES];
    out->free = out->total - out->reserved - out->used;
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo(void *handle, memory_v1_t *out) {
    OPEN(handle)
    out->total = gpu->value[MEMORY_TOTAL_BYTES];
    out->used = gpu->value[MEMORY_USED_BYTES] + gpu->value[MEMORY_RESERVED_BYTES];
    out->free = out->total - out->used;
    return SUCCESS;
}
int nvmlDeviceGetTemperature(void *handle, unsigned sensor, unsigned *out) {
    OPEN(handle)
    if (sensor) return INVALID_ARGUMENT;
    GIVE(*out, gpu->value[TEMPERATURE_CELSIUS]);
}
int nvmlDeviceGetTemperatureV(void *handle, temperature_t *out) {
    OPEN(handle)
    if (out->version != (1u << 24 | sizeof *out)) return ARGUMENT_VERSION_MISMATCH;
    if (out->sensor) return INVALID_ARGUMENT;
    GIVE(out->celsius, gpu->value[TEMPERATURE_CELSIUS]);
}
int nvmlDeviceGetMarginTemperature(void *handle, margin_t *out) {
    OPEN(handle)
    if (out->version != (1u << 24 | sizeof *out)) return ARGUMENT_VERSION_MISMATCH;
    GIVE(out->celsius, SLOWDOWN_CELSIUS - trunc(gpu->value[TEMPERATURE_CELSIUS]));
}
int nvmlDeviceGetClockInfo(void *handle, unsigned type, unsigned *out) { /* 0 graphics, 1 SM, 2 memory, 3 video */
    OPEN(handle)
    GIVE(*out, gpu->value[type == 2 ? MEMORY_CLOCK_HERTZ : SM_CLOCK_HERTZ] / 1e6);
}
int nvmlDeviceGetMaxClockInfo(void *handle, unsigned type, unsigned *out) {
    OPEN(handle)
    GIVE(*out, gpu->value[type == 2 ? MEMORY_CLOCK_HERTZ : SM_CLOCK_MAX_HERTZ] / 1e6);
}
int nvmlDeviceGetTotalEccErrors(void *handle, unsigned type, unsigned place, unsigned long long *out) {
    OPEN(handle)
    (void)type, (void)place;
    GIVE(*out, 0);
}
int nvmlDeviceGetRemappedRows(void *handle, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failed) {
    OPEN(handle)
    *corrected = *uncorrected = *pending = *failed = 0;
    return SUCCESS;
}
int nvmlDeviceGetNvLinkState(void *handle, unsigned link, unsigned *out) {
    OPEN(handle)
    if (link >= LINKS) return INVALID_ARGUMENT;
    GIVE(*out, 1);
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, process_t *out) {
    OPEN(handle)
    unsigned running = gpu->value[PROCESS_COUNT], room = *count;
    *count = running;
    if (running > room) return INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < running; i++) {
        unsigned long long bytes = gpu->value[MEMORY_USED_BYTES] / running;
        out[i] = (process_t){1000 + i, bytes, ~0u, ~0u};
    }
    return SUCCESS;
}

/* Put the value of one field; the numbers are NVML's field ids. */
static int read_field(const struct gpu *gpu, field_t *field) {
    double number = NAN;
    int wide = 1;
    switch (field->field) {
    case 74: number = counter(gpu, THROTTLE_POWER_SECONDS) * 1e9; break;
    case 75: number = counter(gpu, THROTTLE_THERMAL_SECONDS) * 1e9; break;
    case 82: number = gpu->value[MEMORY_TEMPERATURE_CELSIUS], wide = 0; break;
    case 83: number = counter(gpu, ENERGY_JOULES) * 1e3; break;
    case 138: case 139:
        if ((int)field->scope != ALL_LINKS) break;
        number = counter(gpu, field->field == 138 ? NVLINK_TX_BYTES : NVLINK_RX_BYTES) / 1024;
        break;
    case 185: case 186: /* scope 0 is the GPU; this board has no module of its own */
        if (!field->scope) number = gpu->value[POWER_WATTS] * 1e3, wide = 0;
        break;
    case 230: number = 0, wide = 0; break;
    }
    if (isnan(number)) return NOT_SUPPORTED;
    field->type = wide ? 3 : 1;
    if (wide) field->value.ull = number;
    else field->value.ui = number;
    return SUCCESS;
}
int nvmlDeviceGetFieldValues(void *handle, int count, field_t *fields) {
    OPEN(handle)
    for (int i = 0; i < count; i++) fields[i].status = read_field(gpu, &fields[i]);
    return SUCCESS;
}
