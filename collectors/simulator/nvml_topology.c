/* What a board is divided into (MIG) and what it is a part of: superchip module, tray, chassis, NVLink fabric. */
#include <stdio.h>
#include <string.h>

#include "nvml_board.h"

/* states of the fabric's registration; fields of its health mask, two bits each, and one of four bits */
enum { FABRIC_COMPLETED = 3, YES = 1, HEALTHY = 1, UNHEALTHY = 2, CONFIGURATION_SHIFT = 8, CONFIGURATION_NONE = 1 };
/* no degraded bandwidth, route recovery, unhealthy route or access timeout; configuration without fault */
#define HEALTHY_MASK 0x1aa

typedef struct { unsigned enabled; } c2c_t;
typedef struct {
    unsigned version;
    unsigned char ib_guid[16], chassis[16], slot, tray, host, peer, module;
} platform_t;
typedef struct {
    unsigned version;
    unsigned char cluster[16];
    int status;
    unsigned clique, state, mask;
    unsigned char summary;
} fabric_t;
_Static_assert(sizeof(platform_t) == 44 && sizeof(fabric_t) == 40, "ABI");

/* Every instance has the same profile: an even share of the seven slices and of the memory. */
void write_instance_name(char *out, const struct board *board) {
    int parts = instances(board->index);
    double gigabytes = board->gpu->value[MEMORY_TOTAL_BYTES] / parts / (1 << 30);
    snprintf(out, NAME_SIZE, "%s MIG %dg.%.0fgb", state.header.model, INSTANCES / parts, gigabytes);
}
void write_instance_uuid(char *out, const struct board *board) {
    snprintf(out, NAME_SIZE, "MIG-%.34s%02x", board->gpu->uuid + 4, board->instance);
}

int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
    OPEN(handle);
    *current = *pending = instances(i) > 0;
    return SUCCESS;
}
GETTER(nvmlDeviceGetMaxMigDeviceCount, unsigned, INSTANCES)

int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned number, void **out) {
    OPEN(handle);
    if (number >= INSTANCES) return INVALID_ARGUMENT;
    if (number >= (unsigned)instances(i)) return NOT_FOUND;
    *out = handle_of(i, number + 1);
    return SUCCESS;
}
int nvmlDeviceIsMigDeviceHandle(void *handle, unsigned *out) {
    OPEN_ANY(handle);
    *out = board.instance > 0;
    return SUCCESS;
}
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *handle, void **out) {
    OPEN_ANY(handle);
    if (!board.instance) return INVALID_ARGUMENT;
    *out = handle_of(i, 0);
    return SUCCESS;
}
/* GPU instances count from one, each with one compute instance 0. */
int nvmlDeviceGetGpuInstanceId(void *handle, unsigned *out) {
    OPEN_ANY(handle);
    if (!board.instance) return NOT_SUPPORTED;
    *out = board.instance;
    return SUCCESS;
}
int nvmlDeviceGetComputeInstanceId(void *handle, unsigned *out) {
    OPEN_ANY(handle);
    if (!board.instance) return NOT_SUPPORTED;
    *out = 0;
    return SUCCESS;
}

/* A board with a module power sits on a superchip: its CPU is linked by C2C. */
int nvmlDeviceGetC2cModeInfoV(void *handle, c2c_t *out) {
    OPEN(handle);
    if (isnan(said(i, "module_power"))) return NOT_SUPPORTED;
    out->enabled = 1;
    return SUCCESS;
}
int nvmlDeviceGetPlatformInfo(void *handle, platform_t *out) {
    OPEN(handle);
    if (!said_or(i, "platform", 0)) return NOT_SUPPORTED;
    WANT_VERSION(out->version, 2, sizeof *out);
    snprintf((char *)out->ib_guid, sizeof out->ib_guid, "0xa088c2%06x", i);
    snprintf((char *)out->chassis, sizeof out->chassis, "%.0f", said_or(i, "chassis", 1820325190001.0));
    out->slot = said_or(i, "slot", 1);
    out->tray = said_or(i, "tray", 0);
    out->host = said_or(i, "host_id", 1);
    out->peer = 1; /* connected by a switch */
    out->module = said_or(i, "module_id", i + 1);
    return SUCCESS;
}

static int is_healthy(unsigned mask) {
    for (int shift = 0; shift < CONFIGURATION_SHIFT; shift += 2)
        if ((mask >> shift & 3) == YES) return 0;
    return (mask >> CONFIGURATION_SHIFT & 15) <= CONFIGURATION_NONE;
}

/* Version 2 is version 3 without the summary. */
int nvmlDeviceGetGpuFabricInfoV(void *handle, fabric_t *out) {
    OPEN(handle);
    double registered = said(i, "fabric_state");
    if (isnan(registered)) return NOT_SUPPORTED;
    unsigned version = out->version;
    if (version != (2u << 24 | offsetof(fabric_t, summary))) WANT_VERSION(version, 3, sizeof *out);
    memset(out->cluster, 0, sizeof out->cluster);
    out->state = registered;
    out->status = said_or(i, "fabric_status", SUCCESS);
    out->clique = said_or(i, "clique", 0);
    out->mask = said_or(i, "fabric_mask", HEALTHY_MASK);
    if (out->state == FABRIC_COMPLETED)
        for (int n = 0; n < 16; n++) out->cluster[n] = 0x11 * n;
    if (version >> 24 == 3) out->summary = is_healthy(out->mask) ? HEALTHY : UNHEALTHY;
    return SUCCESS;
}
