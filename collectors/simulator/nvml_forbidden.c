/* The calls that no agent should make: slow, deprecated or redundant. They answer, and each is noted in a file beside
 * the library, `nvml.forbidden`, one name per line. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "nvml_board.h"

/* what a copy engine at work moves over PCIe. Units: KB/s */
#define COPY_KILOBYTES_PER_SECOND 20e6
#define WINDOW_NANOSECONDS 20000000L

typedef struct { unsigned long long time; union { double d; unsigned ui; unsigned long long ull; } value; } sample_t;
typedef struct { unsigned long long reference, violation; } violation_t;
_Static_assert(sizeof(sample_t) == 16 && sizeof(violation_t) == 16, "ABI");

static void note(const char *call) {
    char line[64];
    int length = snprintf(line, sizeof line, "%s\n", call);
    int file = open(beside("nvml.forbidden"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0) return;
    if (write(file, line, length) != length) perror("nvml.forbidden");
    close(file);
}

int nvmlDeviceGetPcieThroughput(void *handle, unsigned direction, unsigned *out) {
    struct timespec window = {0, WINDOW_NANOSECONDS};
    note(__func__);
    OPEN(handle);
    if (direction > 1) return INVALID_ARGUMENT;
    nanosleep(&window, NULL);
    GIVE(*out, gpu->value[MEMORY_COPY_RATIO] * COPY_KILOBYTES_PER_SECOND);
}
int nvmlDeviceGetViolationStatus(void *handle, unsigned policy, violation_t *out) {
    note(__func__);
    OPEN(handle);
    double nanoseconds = throttle_nanoseconds(i, 74 + policy);
    if (isnan(nanoseconds)) return NOT_SUPPORTED;
    *out = (violation_t){system_seconds() * 1e6, nanoseconds};
    return SUCCESS;
}
int nvmlDeviceGetTemperatureThreshold(void *handle, unsigned threshold, unsigned *out) { /* 0 shutdown, 1 slowdown */
    note(__func__);
    OPEN(handle);
    if (threshold > 1) return NOT_SUPPORTED;
    *out = SLOWDOWN_CELSIUS + (threshold ? 0 : 5);
    return SUCCESS;
}
int nvmlDeviceGetSamples(void *handle, unsigned kind, unsigned long long after, unsigned *type, unsigned *count,
                         sample_t *out) { /* 0 power, 1 utilisation */
    note(__func__);
    OPEN(handle);
    double busy = said_or(i, "util", gpu->value[UTILIZATION_RATIO] * 100);
    double value = kind == 0 ? power_milliwatts(i, 0) : kind == 1 ? busy : NAN;
    unsigned long long now = system_seconds() * 1e6;
    if (isnan(value) || instances(i)) return NOT_SUPPORTED;
    if (after >= now) return NOT_FOUND;
    *type = 1; /* unsigned int */
    *count = 1;
    if (!out) return SUCCESS;
    out->time = now;
    out->value.ui = value;
    return SUCCESS;
}
