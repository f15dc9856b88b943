/* GPM, the profiling of Hopper and later: two samples, and what happened between them.
 *
 * The ratios are those that hold at the second sample; rates of bytes are the counters' growth between the two.
 */
#include <stdlib.h>

#include "nvml_board.h"

enum { GPM_VERSION = 1, METRICS_MAX = 477 };
#define MIB 1048576.0

struct sample {
    int index, instance;
    double at, sm, occupancy, tensor, dram;
    double nvlink_tx, nvlink_rx, pcie_tx, pcie_rx; /* bytes */
};
typedef struct { unsigned version, supported; } support_t;
typedef struct {
    unsigned id;
    int status;
    double value;
    const char *name, *long_name, *unit;
} metric_t;
typedef struct {
    unsigned version, count;
    struct sample *first, *second;
    metric_t metrics[METRICS_MAX];
} metrics_t;
_Static_assert(sizeof(metric_t) == 40 && sizeof(metrics_t) == 19104, "ABI");

int nvmlGpmQueryDeviceSupport(void *handle, support_t *out) {
    OPEN(handle);
    if (out->version != GPM_VERSION) return ARGUMENT_VERSION_MISMATCH;
    out->supported = !said_or(i, "no_gpm", 0);
    return SUCCESS;
}
int nvmlGpmSampleAlloc(struct sample **out) {
    *out = calloc(1, sizeof **out);
    return *out ? SUCCESS : MEMORY;
}
int nvmlGpmSampleFree(struct sample *sample) {
    if (!sample) return INVALID_ARGUMENT;
    free(sample);
    return SUCCESS;
}

static double percent(int gpu, const char *key, enum column ratio) {
    return said_or(gpu, key, state.gpus[gpu].value[ratio] * 100);
}

static int take_sample(int gpu, int instance, struct sample *out) {
    if (!out) return INVALID_ARGUMENT;
    if (said_or(gpu, "no_gpm", 0)) return NOT_SUPPORTED;
    *out = (struct sample){
        .index = gpu, .instance = instance, .at = system_seconds(),
        .sm = percent(gpu, "sm_util", SM_ACTIVE_RATIO), .occupancy = percent(gpu, "sm_occ", SM_OCCUPANCY_RATIO),
        .tensor = percent(gpu, "tensor_util", TENSOR_ACTIVE_RATIO),
        .dram = percent(gpu, "dram_util", DRAM_ACTIVE_RATIO),
        .nvlink_tx = nvlink_bytes(gpu, 1), .nvlink_rx = nvlink_bytes(gpu, 0),
        .pcie_tx = pcie_bytes(gpu, 1), .pcie_rx = pcie_bytes(gpu, 0),
    };
    return SUCCESS;
}
int nvmlGpmSampleGet(void *handle, struct sample *out) {
    OPEN(handle);
    return take_sample(i, 0, out);
}
int nvmlGpmMigSampleGet(void *handle, unsigned instance, struct sample *out) {
    OPEN(handle);
    if (!instances(i)) return NOT_SUPPORTED;
    if (instance < 1 || instance > (unsigned)instances(i)) return NOT_FOUND;
    return take_sample(i, instance, out);
}

static void fill_metric(metric_t *metric, const struct sample *first, const struct sample *last) {
    double seconds = last->at - first->at, value = NAN;
    const char *name = "";
    switch (metric->id) {
    case 1: name = "GRAPHICS_UTIL", value = last->sm; break;
    case 2: name = "SM_UTIL", value = last->sm; break;
    case 3: name = "SM_OCCUPANCY", value = last->occupancy; break;
    case 5: name = "ANY_TENSOR_UTIL", value = last->tensor; break;
    case 7: name = "HMMA_TENSOR_UTIL", value = last->tensor; break;
    case 10: name = "DRAM_BW_UTIL", value = last->dram; break;
    case 20: name = "PCIE_TX_PER_SEC", value = (last->pcie_tx - first->pcie_tx) / MIB / seconds; break;
    case 21: name = "PCIE_RX_PER_SEC", value = (last->pcie_rx - first->pcie_rx) / MIB / seconds; break;
    case 60: name = "NVLINK_TOTAL_RX_PER_SEC", value = (last->nvlink_rx - first->nvlink_rx) / MIB / seconds; break;
    case 61: name = "NVLINK_TOTAL_TX_PER_SEC", value = (last->nvlink_tx - first->nvlink_tx) / MIB / seconds; break;
    }
    metric->status = isnan(value) ? NOT_SUPPORTED : SUCCESS;
    metric->value = isnan(value) ? 0 : value;
    metric->name = metric->long_name = name;
    metric->unit = metric->id < 20 ? "%" : "MiB/s";
}
int nvmlGpmMetricsGet(metrics_t *out) {
    if (!is_initialized()) return UNINITIALIZED;
    if (out->version != GPM_VERSION) return ARGUMENT_VERSION_MISMATCH;
    const struct sample *first = out->first, *last = out->second;
    if (!first || !last || out->count > METRICS_MAX || last->at <= first->at || !first->at) return INVALID_ARGUMENT;
    if (first->index != last->index || first->instance != last->instance) return INVALID_ARGUMENT;
    for (unsigned n = 0; n < out->count; n++) fill_metric(&out->metrics[n], first, last);
    return SUCCESS;
}
