/* What the parts of the simulated NVML library share: the state, the scenario over it, and how a call begins. */
#ifndef NVML_BOARD_H
#define NVML_BOARD_H

#include <math.h>
#include <stddef.h>

#include "nvml_state.h" /* enum column { ... COLUMNS }; STEP_SECONDS; SLOWDOWN_CELSIUS; VERSION */

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, TIMEOUT = 10, GPU_IS_LOST = 15, MEMORY = 20,
    ARGUMENT_VERSION_MISMATCH = 25
};
enum { MAX_GPUS = 16, LINKS = 18, ALL_LINKS = -1, ALL_BOARDS = -1, INSTANCES = 7 };

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

/* What is behind a handle: a board, or one instance of it (from one on). */
struct board {
    int index, instance;
    const struct gpu *gpu;
};

#pragma GCC visibility push(hidden)

/* nvml_state.c */
extern _Thread_local struct state state;
int refresh(void);                          /* read what was replaced; blocks while the boards hang */
const char *beside(const char *name);       /* the path of a file that lies beside the library */
double system_seconds(void);                /* epoch seconds */
double counter(const struct gpu *gpu, enum column base); /* as it is now */

/* nvml_scenario.c */
int read_scenario(void);                    /* whether it is another one than before */
double scenario_time(void);                 /* epoch seconds at which it was written, or was found to be gone */
unsigned long long scenario_file(void);     /* tells two scenarios of one time apart; 0: there is none */
double said(int gpu, const char *key);      /* NaN: nothing */
double said_or(int gpu, const char *key, double other);
int injected(int gpu, const char *key);     /* an NVML code, SUCCESS for none */

/* nvml_energy.c */
void settle_energy(void);                   /* begin a stretch of constant power for each board that has one */
double energy_millijoules(int gpu);

/* nvml.c */
int is_initialized(void);
int shown(void); /* boards that NVML shows */
int open_board(const char *call, const void *handle, struct board *board);
void *handle_of(int index, int instance);
int instances(int gpu); /* 0: MIG is off */
int copy_text(char *to, unsigned size, const char *text);
double power_milliwatts(int gpu, unsigned scope);
double pcie_bytes(int gpu, int sent);

/* nvml_topology.c */
enum { NAME_SIZE = 96 };
void write_instance_uuid(char *out, const struct board *board);
void write_instance_name(char *out, const struct board *board);

/* nvml_fields.c */
double nvlink_bytes(int gpu, int sent);
int is_link_up(int gpu, unsigned link);
double throttle_nanoseconds(int gpu, unsigned policy); /* as fields 74 to 79 count */

#pragma GCC visibility pop

/* Open a call: `board` is what the handle means. OPEN is for boards only, OPEN_ANY for MIG instances too. */
#define OPEN_ANY(handle) \
    struct board board; \
    int error = open_board(__func__, handle, &board); \
    if (error) return error; \
    int i = board.index; \
    const struct gpu *gpu = board.gpu; \
    (void)i, (void)gpu
#define OPEN(handle) \
    OPEN_ANY(handle); \
    if (board.instance) return NOT_SUPPORTED
#define GIVE(target, number) \
    do { \
        double number_ = (number); \
        if (isnan(number_)) return NOT_SUPPORTED; \
        (target) = number_; \
        return SUCCESS; \
    } while (0)
#define GETTER(name, type, number) \
    int name(void *handle, type *out) { OPEN(handle); GIVE(*out, number); }
#define WANT_VERSION(given, number, size) \
    if ((given) != ((unsigned)(number) << 24 | (unsigned)(size))) return ARGUMENT_VERSION_MISMATCH

#endif
