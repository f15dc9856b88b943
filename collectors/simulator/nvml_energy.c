/* The energy counters under a scenario: the factory's, carried on at the power that the scenario says.
 *
 * A counter must not go back when a scenario is replaced, nor differ between two processes that read it. So where each
 * stretch of constant power began lies in a file of its own beside the library, `nvml.energy`. Without a scenario there
 * is no such file, and the counters are the factory's.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "nvml_board.h"

/* A board counts `millijoules` at `since` and goes on at `milliwatts`; where that is NaN, it counts as the factory
 * does, plus `millijoules`. `base` is the `energy_base` that it began with. */
struct stretch {
    double millijoules, since, milliwatts, base;
};
struct book {
    double time; /* of the scenario, epoch seconds */
    unsigned long long file;
    struct stretch boards[MAX_GPUS];
};
static _Thread_local struct book book;

static double factory_millijoules(int gpu) { return counter(&state.gpus[gpu], ENERGY_JOULES) * 1e3; }

static double reading(int gpu, double now) {
    const struct stretch *stretch = &book.boards[gpu];
    if (isnan(stretch->milliwatts)) return factory_millijoules(gpu) + stretch->millijoules;
    return stretch->millijoules + stretch->milliwatts * fmax(now - stretch->since, 0);
}

/* A file's time may lie a tick of the kernel's clock before the writing, when readings were still the old ones. */
#define TICK_SECONDS 0.02

static void begin_stretches(void) {
    double since = fmin(system_seconds(), scenario_time() + TICK_SECONDS);
    for (int gpu = 0; gpu < state.header.count; gpu++) {
        struct stretch *stretch = &book.boards[gpu];
        double base = said(gpu, "energy_base"), milliwatts = said(gpu, "power");
        double millijoules = !isnan(base) && base != stretch->base ? base : reading(gpu, since);
        if (isnan(milliwatts)) millijoules -= factory_millijoules(gpu);
        *stretch = (struct stretch){millijoules, since, milliwatts, base};
    }
    book.time = scenario_time();
    book.file = scenario_file();
}

static void clear_book(void) {
    memset(&book, 0, sizeof book);
    for (int gpu = 0; gpu < MAX_GPUS; gpu++) book.boards[gpu].milliwatts = book.boards[gpu].base = NAN;
}

void settle_energy(void) {
    clear_book();
    int file = open(beside("nvml.energy"), O_RDWR | O_CLOEXEC | (scenario_file() ? O_CREAT : 0), 0600);
    if (file < 0) return;
    flock(file, LOCK_EX);
    if (pread(file, &book, sizeof book, 0) != sizeof book) clear_book();
    /* Another thread or process may have begun them already, or those of a later scenario. */
    if (scenario_time() > book.time || (scenario_time() == book.time && scenario_file() != book.file)) {
        begin_stretches();
        if (pwrite(file, &book, sizeof book, 0) != sizeof book) clear_book();
    }
    close(file);
}

double energy_millijoules(int gpu) {
    if (said_or(gpu, "no_energy", 0)) return NAN;
    return floor(said_or(gpu, "energy", reading(gpu, system_seconds())));
}
