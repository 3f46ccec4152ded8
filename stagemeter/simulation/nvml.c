/* A simulated libnvidia-ml.so.1: the calls a sampler makes, over a waveform with a known integral.
 *
 * Power is a function of CLOCK_MONOTONIC alone (straight lines between points, repeated for ever), and the energy
 * counter its exact integral as of the last tick, so a test knows to the millijoule what a meter must find, and
 * two processes that read it agree.
 *
 * All settings are environment variables, read in nvmlInit. "List" is one value per device, with commas; the last
 * one holds for the devices after it.
 *
 *   SIM_NVML_WAVE        "0:100,0.4:100,0.4:700,0.8:700"   second:watt, the first second is 0
 *   SIM_NVML_DEVICES     how many, 1 to 16; default 1
 *   SIM_NVML_MULTIPLES   list: how many times the waveform a device draws; default 1,2,3,...
 *   SIM_NVML_PHASE       list: seconds by which a device is ahead in the waveform; default 0
 *   SIM_NVML_LIMIT       power limit in watts of a device that draws the waveform once
 *   SIM_NVML_NAMES       list: names, said after "Simulated "
 *   SIM_NVML_PROFILE     what the sensors are like; sets the defaults of what follows
 *                          ideal    counter and power without delay
 *                          hopper   counter every 100 ms; power is the mean of the last second, published every 100 ms;
 *                                   instant power is the mean of the last 25 ms, published every 100 ms (the default)
 *                          ampere   an A100: as hopper, but power too is the mean of the last 25 ms
 *                          prevolta no counter, no field values; power is the mean of 10 ms, published every 20 ms
 *   SIM_NVML_TICK        seconds between two values of the counter; 0: none
 *   SIM_NVML_POWER_TICK, SIM_NVML_POWER_WINDOW       publication and averaging of nvmlDeviceGetPowerUsage, in seconds
 *   SIM_NVML_AVERAGE_WINDOW                          averaging of NVML_FI_DEV_POWER_AVERAGE
 *   SIM_NVML_INSTANT_TICK, SIM_NVML_INSTANT_WINDOW   the same of NVML_FI_DEV_POWER_INSTANT
 *   SIM_NVML_SHIFT       list: seconds by which all a device's ticks lie later than multiples of their period
 *   SIM_NVML_JITTER      seconds by which a tick may be late, different at each; less than the shortest tick
 *   SIM_NVML_CTR_PARTTIME  1: the counter knows of each tick only its last SIM_NVML_INSTANT_WINDOW seconds
 *   SIM_NVML_NOISE       watts: power readings are off by up to this much, evenly spread
 *   SIM_NVML_SEED        of noise and jitter; default 1
 *   SIM_NVML_READ_COST   seconds that a read of the counter takes; its value is that of the middle
 *   SIM_NVML_READ_BUSY   1: they are spent computing, not sleeping
 *   SIM_NVML_TIMESTAMP   of field values: tick (when the value was published, the default), read, or none (0)
 *   SIM_NVML_NO_COUNTER, SIM_NVML_NO_FIELDS   1: not supported
 *   SIM_NVML_MIG         1: every device is cut into slices, called MIG-<device>-<letter>; 2: so it is, until the next
 *                        reset
 *   SIM_NVML_STRANGER    ids of processes that compute on every device, with commas
 *
 *   SIM_NVML_FAULT       one of these; see `fault`
 *   SIM_NVML_FAULT_FILE  it strikes at the monotonic second that stands in this file, once the file is there, and ends
 *                        at the second one, if there is one; without this setting it is there from the start
 *   SIM_NVML_FAULT_DEVICE  the only device it strikes; default: all
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15, UNKNOWN = 999
};
enum { FIELD_ENERGY = 83, FIELD_AVERAGE = 185, FIELD_INSTANT = 186 };
enum { UNSIGNED_INT = 1, UNSIGNED_LONG_LONG = 3 };
#define MAX_DEVICES 16
#define MAX_SLICES 7
#define MAX_PIDS 64
#define WRAP 4294967296.0            /* millijoules in a counter of 32 bits */
#define ABSURD_MILLIWATTS 3700000000u /* what a 32-bit driver library has reported, with a code of success */
#define ABSURD_MILLIJOULES 1099511627776.0

typedef enum {
    NONE,
    RESET,           /* the driver is loaded anew: the counter starts from 0 */
    WRAPPED,         /* the counter arrives at 2^32 mJ and starts over; the file must be there before nvmlInit */
    FROZEN,          /* the counter stands still */
    LOST,            /* every call about the device answers "GPU is lost" */
    FAILING,         /* every third read of counter, power or fields fails */
    GARBAGE,         /* power of 3.7 MW, with a code of success */
    GARBAGE_COUNTER, /* every third read of the counter is 2^40 mJ too high */
    ZERO_POWER,      /* every third read of power is 0 W, with a code of success */
    DENIED,          /* no permission to read counter, power and fields */
    HIDDEN,          /* no permission to open the device, as in a container that was not given it */
} fault;
static const char *const FAULTS[] = {"", "reset", "wrap", "frozen", "lost", "failing", "garbage", "garbage_counter",
                                     "zero_power", "no_permission", "hidden"};
#define FAULT_COUNT ((int)(sizeof FAULTS / sizeof *FAULTS))

typedef enum { COUNTER, POWER, FIELDS, KINDS } reading;

typedef struct {
    int index, slice; /* slice -1: the whole card */
} device;

typedef struct {
    const char *name, *card;
    double tick, power_tick, power_window, average_window, instant_tick, instant_window, limit;
    int no_counter, no_fields;
} profile;
static const profile PROFILES[] = {
    {"hopper", "H100", 0.1, 0.1, 1.0, 1.0, 0.1, 0.025, 700, 0, 0},
    {"ideal", "H100", 0, 0, 0, 0, 0, 0, 700, 0, 0},
    {"ampere", "A100", 0.1, 0.1, 0.025, 1.0, 0.1, 0.025, 400, 0, 0},
    {"prevolta", "P100", 0, 0.02, 0.01, 0.01, 0.02, 0.01, 300, 1, 1},
};
#define PROFILE_COUNT ((int)(sizeof PROFILES / sizeof *PROFILES))

static struct {
    int ready, devices, parttime, read_busy, mig, pids;
    profile sensor;
    double multiple[MAX_DEVICES], phase[MAX_DEVICES], shift[MAX_DEVICES];
    double jitter, noise, read_cost;
    unsigned long long seed;
    unsigned int pid[MAX_PIDS];
    fault fault;
    int fault_device;
    const char *fault_file, *timestamp;
} is;
static device cards[MAX_DEVICES], slices[MAX_DEVICES][MAX_SLICES];
static unsigned int reads[MAX_DEVICES][KINDS];

/* The waveform: points, the energy up to each, and the sums of what a part-time counter sees of its ticks. */
static double *at, *watt, *sum;
static int points;
static double *seen[MAX_DEVICES];
static long long seen_ticks;

/* ---- settings ---- */

static const char *text(const char *name, const char *otherwise) {
    const char *value = getenv(name);
    return value && *value ? value : otherwise;
}

static double number(const char *name, double otherwise) {
    const char *value = text(name, NULL);
    return value ? atof(value) : otherwise;
}

/* The part of a list that belongs to device `index`; its length in `length`. NULL: there is no list. */
static const char *entry(const char *name, int index, int *length) {
    const char *value = text(name, NULL);
    for (; value; value++) {
        *length = (int)strcspn(value, ",");
        if (index-- == 0 || !value[*length]) break;
        value += *length;
    }
    return value;
}

static double listed(const char *name, int index, double otherwise) {
    int length;
    const char *value = entry(name, index, &length);
    return value ? atof(value) : otherwise;
}

static int refuse(const char *sentence) {
    fprintf(stderr, "simulated NVML: %s\n", sentence);
    return INVALID_ARGUMENT;
}

static int read_wave(const char *wave) {
    int room = 2;
    for (const char *c = wave; *c; c++) room += *c == ',';
    free(at), free(watt), free(sum);
    at = malloc(room * sizeof *at), watt = malloc(room * sizeof *watt), sum = malloc(room * sizeof *sum);
    points = 0;
    for (const char *part = wave; *part;) {
        if (sscanf(part, "%lf:%lf", &at[points], &watt[points]) != 2)
            return refuse("SIM_NVML_WAVE is second:watt,second:watt,...");
        if (points ? at[points] < at[points - 1] : at[points] != 0)
            return refuse("the seconds of SIM_NVML_WAVE must begin with 0 and rise");
        sum[points] = points ? sum[points - 1] + (watt[points] + watt[points - 1]) / 2 * (at[points] - at[points - 1]) : 0;
        points++;
        part += strcspn(part, ",");
        part += *part == ',';
    }
    return points >= 2 && at[points - 1] > 0 ? SUCCESS : refuse("SIM_NVML_WAVE needs two points at different seconds");
}

static int read_profile(void) {
    const char *wanted = text("SIM_NVML_PROFILE", PROFILES[0].name);
    int i = 0;
    while (i < PROFILE_COUNT && strcmp(PROFILES[i].name, wanted)) i++;
    if (i == PROFILE_COUNT) return refuse("SIM_NVML_PROFILE is one of hopper, ideal, ampere, prevolta");
    profile *s = &is.sensor;
    *s = PROFILES[i];
    s->tick = number("SIM_NVML_TICK", s->tick);
    s->power_tick = number("SIM_NVML_POWER_TICK", s->power_tick);
    s->power_window = number("SIM_NVML_POWER_WINDOW", s->power_window);
    s->average_window = number("SIM_NVML_AVERAGE_WINDOW", s->average_window);
    s->instant_tick = number("SIM_NVML_INSTANT_TICK", s->instant_tick);
    s->instant_window = number("SIM_NVML_INSTANT_WINDOW", s->instant_window);
    s->limit = number("SIM_NVML_LIMIT", s->limit);
    s->no_counter = (int)number("SIM_NVML_NO_COUNTER", s->no_counter);
    s->no_fields = (int)number("SIM_NVML_NO_FIELDS", s->no_fields);
    return SUCCESS;
}

static int read_fault(void) {
    const char *wanted = text("SIM_NVML_FAULT", "");
    int i = 0;
    while (i < FAULT_COUNT && strcmp(FAULTS[i], wanted)) i++;
    if (i == FAULT_COUNT) return refuse("SIM_NVML_FAULT names no fault that is known");
    is.fault = (fault)i;
    is.fault_file = text("SIM_NVML_FAULT_FILE", NULL);
    is.fault_device = (int)number("SIM_NVML_FAULT_DEVICE", -1);
    FILE *file = is.fault == WRAPPED && is.fault_file ? fopen(is.fault_file, "r") : NULL;
    if (is.fault == WRAPPED && !file)
        return refuse("before a counter can wrap, SIM_NVML_FAULT_FILE must say at which second it will");
    if (file) fclose(file);
    return SUCCESS;
}

/* ---- the truth ---- */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* The last point at or before `inside`, a second of the waveform. */
static int point_before(double inside) {
    int low = 0, high = points - 1;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (at[middle] <= inside) low = middle;
        else high = middle;
    }
    return low;
}

static double wave_watt(int i, double inside) {
    if (at[i + 1] == at[i]) return watt[i + 1];
    return watt[i] + (watt[i + 1] - watt[i]) * (inside - at[i]) / (at[i + 1] - at[i]);
}

static double power(int card, double t) {
    double period = at[points - 1], moved = t + is.phase[card], inside = moved - floor(moved / period) * period;
    return is.multiple[card] * wave_watt(point_before(inside), inside);
}

/* Joules since the waveform's second 0; a difference of two is the energy between them. */
static double energy(int card, double t) {
    double period = at[points - 1], moved = t + is.phase[card], whole = floor(moved / period);
    double inside = moved - whole * period;
    int i = point_before(inside);
    double part = sum[i] + (watt[i] + wave_watt(i, inside)) / 2 * (inside - at[i]);
    return is.multiple[card] * (whole * sum[points - 1] + part);
}

/* ---- the sensors ---- */

/* A number from 0 to 1 that looks random and is always the same for the same arguments. */
static double chance(unsigned long long stream, long long n) {
    unsigned long long x = is.seed * 0x9E3779B97F4A7C15u + stream * 0xD1B54A32D192ED03u + (unsigned long long)n;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return (double)((x ^ (x >> 31)) >> 11) / 9007199254740992.0;
}

static double tick_time(int card, double period, long long n) {
    double late = is.jitter > 0 ? is.jitter * chance(100 + (unsigned)card, n) : 0;
    return (double)n * period + is.shift[card] + late;
}

/* Which tick of this period was the last one at `t`. */
static long long tick_number(int card, double period, double t) {
    long long n = (long long)floor((t - is.shift[card]) / period);
    while (tick_time(card, period, n) > t) n--;
    return n;
}

static double published(int card, double period, double t) {
    return period > 0 ? tick_time(card, period, tick_number(card, period, t)) : t;
}

static double mean_power(int card, double window, double t) {
    return window > 0 ? (energy(card, t) - energy(card, t - window)) / window : power(card, t);
}

/* Milliwatts as this sensor publishes them; `when` is set to the moment of publication. */
static unsigned int sensed(int card, double period, double window, int stream, double *when) {
    *when = published(card, period, now());
    double watts = mean_power(card, window, *when);
    if (is.noise > 0) {
        long long moment = (long long)floor(*when * 1e6);
        watts += is.noise * (2 * chance((unsigned)(card * KINDS + stream), moment) - 1);
    }
    return watts > 0 ? (unsigned int)(watts * 1000 + 0.5) : 0;
}

/* A part-time counter takes the mean of the end of a tick for all of it. Waveform and ticks together repeat
 * after `seen_ticks` ticks, so the sums of one such round are enough for any time. */
static int prepare_parttime(void) {
    long long period = llround(at[points - 1] * 1000), tick = llround(is.sensor.tick * 1000), a = period, b = tick;
    if (tick <= 0 || fabs(at[points - 1] * 1000 - (double)period) > 1e-6)
        return refuse("a part-time counter needs a tick, and a waveform of whole milliseconds");
    while (b) { long long rest = a % b; a = b; b = rest; }
    seen_ticks = period / a;
    for (int card = 0; card < is.devices; card++) {
        free(seen[card]);
        seen[card] = malloc(((size_t)seen_ticks + 1) * sizeof **seen);
        seen[card][0] = 0;
        for (long long n = 1; n <= seen_ticks; n++) {
            double end = (double)n * is.sensor.tick + is.shift[card];
            seen[card][n] = seen[card][n - 1] + mean_power(card, is.sensor.instant_window, end) * is.sensor.tick;
        }
    }
    return SUCCESS;
}

static double counted(int card, double t) {
    if (!is.parttime) return energy(card, published(card, is.sensor.tick, t));
    long long n = tick_number(card, is.sensor.tick, t), rounds = n / seen_ticks;
    return (double)rounds * seen[card][seen_ticks] + seen[card][n % seen_ticks];
}

/* ---- faults ---- */

/* Whether `wanted` has struck the card at `t`; if so, `since` is set to when. */
static int struck(fault wanted, int card, double t, double *since) {
    double start = -1, end = INFINITY;
    if (is.fault != wanted || (is.fault_device >= 0 && is.fault_device != card)) return 0;
    if (is.fault_file) {
        FILE *file = fopen(is.fault_file, "r");
        int found = file ? fscanf(file, "%lf %lf", &start, &end) : 0;
        if (file) fclose(file);
        if (found < 1) return 0;
    }
    if (since) *since = start;
    return t > start && t < end;
}

static int every_third(int card, reading kind) {
    return __atomic_add_fetch(&reads[card][kind], 1, __ATOMIC_RELAXED) % 3 == 0;
}

/* Why a reading of this kind cannot be had now. */
static int trouble(const device *d, reading kind) {
    double t = now();
    if (!is.ready) return UNINITIALIZED;
    if (d->slice >= 0) return NOT_SUPPORTED; /* energy and power are known of the whole card alone */
    if (struck(LOST, d->index, t, NULL)) return GPU_IS_LOST;
    if (struck(DENIED, d->index, t, NULL)) return NO_PERMISSION;
    if (struck(FAILING, d->index, t, NULL) && every_third(d->index, kind)) return UNKNOWN;
    return SUCCESS;
}

static void spend(double seconds) {
    struct timespec pause = {(time_t)seconds, (long)((seconds - floor(seconds)) * 1e9)};
    double until = now() + seconds;
    if (seconds <= 0) return;
    if (is.read_busy)
        while (now() < until) {}
    else
        while (nanosleep(&pause, &pause) && errno == EINTR) {}
}

static unsigned long long counter(int card, double *when) {
    spend(is.read_cost / 2);
    double t = now(), since = 0, offset = 0;
    if (struck(FROZEN, card, t, &since)) t = since > 0 ? since : 0;
    if (struck(RESET, card, t, &since)) offset = since > 0 ? -counted(card, since) * 1000 : 0;
    if (is.fault == WRAPPED && (is.fault_device < 0 || is.fault_device == card)) {
        int over = struck(WRAPPED, card, t, &since);
        (void)struck(WRAPPED, card, INFINITY, &since);
        offset = -counted(card, since) * 1000 + (over ? 0 : WRAP);
    }
    *when = published(card, is.sensor.tick, t);
    double millijoules = counted(card, t) * 1000 + offset;
    if (struck(GARBAGE_COUNTER, card, t, NULL) && every_third(card, COUNTER)) millijoules += ABSURD_MILLIJOULES;
    spend(is.read_cost / 2);
    return millijoules > 0 ? (unsigned long long)millijoules : 0;
}

static unsigned int milliwatts(int card, double period, double window, reading kind, double *when) {
    unsigned int value = sensed(card, period, window, kind, when);
    if (struck(GARBAGE, card, now(), NULL)) return ABSURD_MILLIWATTS;
    if (struck(ZERO_POWER, card, now(), NULL) && every_third(card, kind)) return 0;
    return value;
}

/* ---- NVML ---- */

int nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    memset(&is, 0, sizeof is);
    memset(reads, 0, sizeof reads);
    is.devices = (int)number("SIM_NVML_DEVICES", 1);
    if (is.devices < 1 || is.devices > MAX_DEVICES) return refuse("SIM_NVML_DEVICES is 1 to 16");
    if (read_wave(text("SIM_NVML_WAVE", "0:100,1:100")) || read_profile() || read_fault()) return INVALID_ARGUMENT;
    is.parttime = (int)number("SIM_NVML_CTR_PARTTIME", 0);
    is.jitter = number("SIM_NVML_JITTER", 0);
    is.noise = number("SIM_NVML_NOISE", 0);
    is.seed = (unsigned long long)number("SIM_NVML_SEED", 1);
    is.read_cost = number("SIM_NVML_READ_COST", 0);
    is.read_busy = (int)number("SIM_NVML_READ_BUSY", 0);
    is.mig = (int)number("SIM_NVML_MIG", 0);
    is.timestamp = text("SIM_NVML_TIMESTAMP", "tick");
    for (int i = 0; i < MAX_DEVICES; i++) {
        is.multiple[i] = listed("SIM_NVML_MULTIPLES", i, i + 1);
        is.phase[i] = listed("SIM_NVML_PHASE", i, 0);
        is.shift[i] = listed("SIM_NVML_SHIFT", i, 0);
        cards[i] = (device){i, -1};
        for (int slice = 0; slice < MAX_SLICES; slice++) slices[i][slice] = (device){i, slice};
    }
    for (const char *part = text("SIM_NVML_STRANGER", ""); *part && is.pids < MAX_PIDS; part += *part == ',') {
        is.pid[is.pids++] = (unsigned int)atol(part);
        part += strcspn(part, ",");
    }
    if (is.parttime && prepare_parttime()) return INVALID_ARGUMENT;
    is.ready = 1;
    return SUCCESS;
}

int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }

int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int code) {
    switch (code) {
    case SUCCESS: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NO_PERMISSION: return "Insufficient Permissions";
    case NOT_FOUND: return "Not Found";
    case INSUFFICIENT_SIZE: return "Insufficient Size";
    case GPU_IS_LOST: return "GPU is lost";
    default: return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *version, unsigned int size) {
    snprintf(version, size, "580.00-simulated");
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion(int *version) { *version = 12080; return SUCCESS; }

int nvmlSystemGetCudaDriverVersion_v2(int *version) { return nvmlSystemGetCudaDriverVersion(version); }

int nvmlDeviceGetCount_v2(unsigned int *count) {
    *count = (unsigned int)is.devices;
    return is.ready ? SUCCESS : UNINITIALIZED;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, device **handle) {
    if (!is.ready) return UNINITIALIZED;
    if (index >= (unsigned int)is.devices) return INVALID_ARGUMENT;
    if (struck(LOST, (int)index, now(), NULL)) return GPU_IS_LOST;
    if (struck(HIDDEN, (int)index, now(), NULL)) return NO_PERMISSION;
    *handle = &cards[index];
    return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, device **handle) {
    int card, length = 0;
    char slice;
    if (!is.ready) return UNINITIALIZED;
    if (is.mig && sscanf(uuid, "MIG-%d-%c%n", &card, &slice, &length) == 2) {
        int known = card >= 0 && card < is.devices && slice >= 'a' && slice < 'a' + MAX_SLICES && !uuid[length];
        if (known) *handle = &slices[card][slice - 'a'];
        return known ? SUCCESS : NOT_FOUND;
    }
    if (sscanf(uuid, "GPU-%8d-5151-5151-5151-515151515151%n", &card, &length) != 1 || !length || uuid[length] ||
        card < 0 || card >= is.devices)
        return NOT_FOUND;
    *handle = &cards[card];
    return SUCCESS;
}

int nvmlDeviceGetIndex(const device *d, unsigned int *index) { *index = (unsigned int)d->index; return SUCCESS; }

int nvmlDeviceGetUUID(const device *d, char *uuid, unsigned int size) {
    if (d->slice >= 0) snprintf(uuid, size, "MIG-%d-%c", d->index, 'a' + d->slice);
    else snprintf(uuid, size, "GPU-%08d-5151-5151-5151-515151515151", d->index);
    return SUCCESS;
}

/* Always says that it is a simulation, whatever the setting. */
int nvmlDeviceGetName(const device *d, char *name, unsigned int size) {
    int length;
    const char *given = entry("SIM_NVML_NAMES", d->index, &length);
    snprintf(name, size, "Simulated %.*s", given ? length : 32, given ? given : is.sensor.card);
    return SUCCESS;
}

int nvmlDeviceGetEnforcedPowerLimit(const device *d, unsigned int *limit) {
    *limit = (unsigned int)(is.sensor.limit * is.multiple[d->index] * 1000);
    return SUCCESS;
}

int nvmlDeviceGetPowerManagementLimit(const device *d, unsigned int *limit) {
    return nvmlDeviceGetEnforcedPowerLimit(d, limit);
}

int nvmlDeviceGetMigMode(const device *d, unsigned int *current, unsigned int *pending) {
    (void)d;
    *current = is.mig ? 1 : 0, *pending = is.mig == 1;
    return SUCCESS;
}

int nvmlDeviceIsMigDeviceHandle(const device *d, unsigned int *answer) { *answer = d->slice >= 0; return SUCCESS; }

int nvmlDeviceGetMaxMigDeviceCount(const device *d, unsigned int *count) {
    (void)d;
    *count = is.mig ? MAX_SLICES : 0;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(const device *d, unsigned int index, device **slice) {
    if (!is.mig || index >= MAX_SLICES) return NOT_FOUND;
    *slice = &slices[d->index][index];
    return SUCCESS;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(const device *slice, device **card) {
    *card = &cards[slice->index];
    return SUCCESS;
}

typedef struct { unsigned int pid; unsigned long long memory; unsigned int gpu, compute; } process;

int nvmlDeviceGetComputeRunningProcesses_v3(const device *d, unsigned int *count, process *found) {
    unsigned int room = *count;
    if (struck(LOST, d->index, now(), NULL)) return GPU_IS_LOST;
    *count = (unsigned int)is.pids;
    if (!is.pids) return SUCCESS;
    if (room < *count || !found) return INSUFFICIENT_SIZE;
    for (int i = 0; i < is.pids; i++) found[i] = (process){is.pid[i], 1ull << 30, 0xFFFFFFFF, 0xFFFFFFFF};
    return SUCCESS;
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(const device *d, unsigned int *count, process *found) {
    (void)d, (void)found;
    *count = 0;
    return SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(const device *d, unsigned long long *millijoules) {
    double when;
    if (is.ready && is.sensor.no_counter) return NOT_SUPPORTED;
    int code = trouble(d, COUNTER);
    if (code == SUCCESS) *millijoules = counter(d->index, &when);
    return code;
}

int nvmlDeviceGetPowerUsage(const device *d, unsigned int *value) {
    double when;
    int code = trouble(d, POWER);
    if (code == SUCCESS)
        *value = milliwatts(d->index, is.sensor.power_tick, is.sensor.power_window, POWER, &when);
    return code;
}

typedef struct {
    unsigned int id, scope;
    long long timestamp, latency;
    unsigned int type;
    int code;
    union { unsigned int ui; unsigned long long ull; } value;
} field;

/* Microseconds on the wall clock of a monotonic second, or what SIM_NVML_TIMESTAMP wants in its place. */
static long long stamp(double when) {
    struct timespec wall;
    if (!strcmp(is.timestamp, "none")) return 0;
    clock_gettime(CLOCK_REALTIME, &wall);
    double age = strcmp(is.timestamp, "read") ? now() - when : 0;
    return wall.tv_sec * 1000000ll + wall.tv_nsec / 1000 - llround(age * 1e6);
}

static int fill(int card, field *f) {
    const profile *s = &is.sensor;
    double when = now();
    int power_field = f->id == FIELD_AVERAGE || f->id == FIELD_INSTANT;
    if (f->scope != 0 || s->no_fields || !(power_field || f->id == FIELD_ENERGY)) return NOT_SUPPORTED;
    if (f->id == FIELD_ENERGY && s->no_counter) return NOT_SUPPORTED;
    if (f->id == FIELD_ENERGY) f->value.ull = counter(card, &when);
    if (f->id == FIELD_AVERAGE) f->value.ui = milliwatts(card, s->power_tick, s->average_window, FIELDS, &when);
    if (f->id == FIELD_INSTANT) f->value.ui = milliwatts(card, s->instant_tick, s->instant_window, FIELDS, &when);
    f->type = power_field ? UNSIGNED_INT : UNSIGNED_LONG_LONG;
    f->timestamp = stamp(when);
    return SUCCESS;
}

int nvmlDeviceGetFieldValues(const device *d, int count, field *fields) {
    int code = trouble(d, FIELDS);
    if (code == GPU_IS_LOST || code == UNINITIALIZED) return code;
    for (int i = 0; i < count; i++) {
        fields[i].latency = fields[i].timestamp = 0;
        fields[i].code = code == SUCCESS ? fill(d->index, &fields[i]) : code;
    }
    return SUCCESS;
}

/* What else a monitor likes to know; none of it bears on energy. */

typedef struct { unsigned long long total, free, used; } memory;

int nvmlDeviceGetMemoryInfo(const device *d, memory *m) {
    (void)d;
    *m = (memory){80ull << 30, 70ull << 30, 10ull << 30};
    return SUCCESS;
}

int nvmlDeviceGetTemperature(const device *d, int sensor, unsigned int *celsius) {
    (void)d, (void)sensor;
    *celsius = 50;
    return SUCCESS;
}

typedef struct { unsigned int gpu, memory; } utilization;

int nvmlDeviceGetUtilizationRates(const device *d, utilization *rates) {
    (void)d;
    *rates = (utilization){90, 40};
    return SUCCESS;
}

int nvmlDeviceGetComputeMode(const device *d, unsigned int *mode) { (void)d; *mode = 0; return SUCCESS; }

/* NVML_DEVICE_ARCH_*: 4 Pascal, 7 Ampere, 9 Hopper. */
int nvmlDeviceGetArchitecture(const device *d, unsigned int *architecture) {
    (void)d;
    *architecture = !strcmp(is.sensor.card, "A100") ? 7 : !strcmp(is.sensor.card, "P100") ? 4 : 9;
    return SUCCESS;
}
