/* What a test or an operator says over the state: `nvml.scenario` beside the library, lines `gpu key value`.
 *
 * A key is one of KEYS, a field id as `field_<id>`, or the name of an NVML call, whose value is the code that the call
 * answers. A line that cannot be read, and a key that does not exist, are told on standard error.
 *
 * Source: docs/contracts.md, section 5.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "nvml_board.h"

enum { LINES = 256, KEY_LENGTH = 56 };

static const char *const KEYS[] = {
    "count", "init_error", "handle_error", "error", "hang", "driver",
    "power", "power_average", "power_memory", "power_base", "power_limit", "power_min", "power_max", "power_default",
    "power_requested", "energy", "energy_base", "no_energy", "module_power", "module_id",
    "util", "memutil", "sm_util", "sm_occ", "tensor_util", "dram_util", "no_gpm", "memused", "nproc", "pid",
    "temp", "memtemp", "margin", "sm_clock", "reasons", "viol_power", "viol_thermal", "viol_sync", "viol_board",
    "viol_low", "viol_reliability", "viol_sw_thermal", "viol_hw_thermal", "viol_brake",
    "ecc_sbe", "ecc_dbe", "remap_cor", "remap_unc", "remap_pending", "remap_failure", "recovery", "replay",
    "pcie_gen", "pcie_width", "pcie_tx", "pcie_rx", "nvlink_gen", "nvlink_down", "nvlink_tx", "nvlink_rx",
    "nvlink_recovery", "nvlink_errors", "platform", "chassis", "slot", "tray", "host_id",
    "fabric_state", "fabric_status", "fabric_mask", "clique", "mig", "xid", "event",
};

struct line {
    int gpu;
    char key[KEY_LENGTH];
    double value;
};
static _Thread_local struct line lines[LINES];
static _Thread_local int count;
static _Thread_local struct stat seen;
static _Thread_local int looked;
static _Thread_local double time_seen;

static int is_key(const char *key) {
    if (!strncmp(key, "nvml", 4) || !strncmp(key, "field_", 6)) return 1;
    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++)
        if (!strcmp(key, KEYS[i])) return 1;
    return 0;
}

static void read_line(char *text, int number) {
    struct line line;
    char value[64], rest, *end = "?";
    text[strcspn(text, "#\n")] = 0;
    if (!text[strspn(text, " \t\r")]) return;
    int found = sscanf(text, "%d %55s %63s %c", &line.gpu, line.key, value, &rest);
    if (found == 3) line.value = strtod(value, &end);
    if (*end || line.gpu < ALL_BOARDS || line.gpu >= MAX_GPUS || isnan(line.value))
        fprintf(stderr, "nvml.scenario line %d: %s: not `gpu key value` with a number as value\n", number, text);
    else if (!is_key(line.key))
        fprintf(stderr, "nvml.scenario line %d: no key %s; docs/contracts.md section 5 has them\n", number, line.key);
    else if (count == LINES)
        fprintf(stderr, "nvml.scenario line %d: more than %d lines\n", number, LINES);
    else
        lines[count++] = line;
}

int read_scenario(void) {
    struct stat now = {0};
    char text[256];
    if (stat(beside("nvml.scenario"), &now)) memset(&now, 0, sizeof now);
    if (looked && now.st_ino == seen.st_ino && now.st_mtim.tv_nsec == seen.st_mtim.tv_nsec &&
        now.st_mtim.tv_sec == seen.st_mtim.tv_sec && now.st_size == seen.st_size)
        return 0;
    looked = 1;
    count = 0;
    seen = now;
    time_seen = now.st_ino ? now.st_mtim.tv_sec + now.st_mtim.tv_nsec * 1e-9 : system_seconds();
    FILE *file = now.st_ino ? fopen(beside("nvml.scenario"), "r") : NULL;
    for (int number = 1; file && fgets(text, sizeof text, file); number++) read_line(text, number);
    if (file) fclose(file);
    return 1;
}

double scenario_time(void) { return time_seen; }
unsigned long long scenario_file(void) { return seen.st_ino; }

double said(int gpu, const char *key) {
    for (int i = count - 1; i >= 0; i--)
        if ((lines[i].gpu == gpu || lines[i].gpu == ALL_BOARDS) && !strcmp(lines[i].key, key)) return lines[i].value;
    return NAN;
}

double said_or(int gpu, const char *key, double other) {
    double value = said(gpu, key);
    return isnan(value) ? other : value;
}

int injected(int gpu, const char *key) { return (int)said_or(gpu, key, SUCCESS); }
