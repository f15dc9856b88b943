/* Events: Xids and the others, each delivered once to every set that a board was registered with before it came. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <time.h>

#include "nvml_board.h"

/* NVML's event types; the ones that this library can deliver */
#define XID_EVENT 0x8ull
#define RECOVERY_EVENT 0x8000ull
#define SUPPORTED_EVENTS 0xff9full
#define NAP_NANOSECONDS 50000000L

enum { XID_OFF_THE_BUS = 79 };

struct watch {
    unsigned long long mask;
    double xid, event; /* the last that were seen */
};
struct event_set {
    struct watch boards[MAX_GPUS];
};
typedef struct {
    void *handle;
    unsigned long long type, data;
    unsigned gi, ci;
} event_t;
_Static_assert(sizeof(event_t) == 32, "ABI");

/* What the factory says of a board that is lost, an Xid 79 at least, is the scenario's to change. */
static double xid_of(int gpu) {
    const double *value = state.gpus[gpu].value;
    return said_or(gpu, "xid", value[XID] ? value[XID] : value[LOST] ? XID_OFF_THE_BUS : 0);
}

int nvmlEventSetCreate(struct event_set **out) {
    if (!is_initialized()) return UNINITIALIZED;
    *out = calloc(1, sizeof **out);
    return *out ? SUCCESS : MEMORY;
}
int nvmlEventSetFree(struct event_set *set) {
    if (!set) return INVALID_ARGUMENT;
    free(set);
    return SUCCESS;
}
GETTER(nvmlDeviceGetSupportedEventTypes, unsigned long long, SUPPORTED_EVENTS)

int nvmlDeviceRegisterEvents(void *handle, unsigned long long mask, struct event_set *set) {
    OPEN(handle);
    if (!set) return INVALID_ARGUMENT;
    if (mask & ~SUPPORTED_EVENTS) return NOT_SUPPORTED;
    set->boards[i] = (struct watch){set->boards[i].mask | mask, xid_of(i), said_or(i, "event", 0)};
    return SUCCESS;
}

static int deliver(int gpu, unsigned long long type, unsigned long long data, event_t *out) {
    *out = (event_t){handle_of(gpu, 0), type, data, ~0u, ~0u};
    return 1;
}

/* Find what came since the last time; a board that is lost still tells its last Xid. */
static int next_event(struct event_set *set, event_t *out) {
    for (int gpu = 0; gpu < shown(); gpu++) {
        struct watch *watch = &set->boards[gpu];
        double xid = xid_of(gpu), event = said_or(gpu, "event", 0);
        int is_xid = watch->xid != xid && xid && watch->mask & XID_EVENT;
        watch->xid = xid;
        if (is_xid) return deliver(gpu, XID_EVENT, xid, out);
        unsigned long long type = event;
        int is_event = watch->event != event && watch->mask & type;
        watch->event = event;
        if (is_event) return deliver(gpu, type, type == RECOVERY_EVENT ? said_or(gpu, "recovery", 0) : 0, out);
    }
    return 0;
}

static double monotonic_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

int nvmlEventSetWait_v2(struct event_set *set, event_t *out, unsigned milliseconds) {
    double end = monotonic_seconds() + milliseconds * 1e-3;
    if (!set || !out) return INVALID_ARGUMENT;
    for (;;) {
        if (!is_initialized()) return UNINITIALIZED;
        int error = refresh();
        if (!error) error = injected(ALL_BOARDS, __func__);
        if (error) return error;
        if (next_event(set, out)) return SUCCESS;
        double left = end - monotonic_seconds();
        if (left <= 0) return TIMEOUT;
        struct timespec nap = {0, (long)fmin(NAP_NANOSECONDS, left * 1e9)};
        nanosleep(&nap, NULL);
    }
}
