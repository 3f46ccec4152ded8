/* A simulated libnvidia-ml.so.1: the calls a sampler makes, over a waveform with a known integral.
 *
 * Power is a function of CLOCK_MONOTONIC alone (straight lines between points, repeated for ever), and the energy
 * counter its exact integral as of the last tick, so a test knows to the millijoule what a meter must find.
 * Device i draws (i + 1) times the waveform.
 *
 *   SIM_NVML_WAVE      "0:100,0.4:100,0.4:700,0.8:700"   second:watt, the first second is 0
 *   SIM_NVML_DEVICES   how many, default 1
 *   SIM_NVML_TICK      seconds between two values of counter and power, default 0.1
 *   SIM_NVML_NO_COUNTER, SIM_NVML_MIG   set: the devices have no counter, are cut into slices
 *   SIM_NVML_STRANGER  id of a process that computes on every device
 *   SIM_NVML_FAULT     reset, frozen or lost: strikes at the monotonic second that stands in SIM_NVML_FAULT_FILE,
 *                      once that file is there
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15 };
#define MAX_POINTS 64
#define MAX_DEVICES 8

static double at[MAX_POINTS], watt[MAX_POINTS];
static int points, devices[MAX_DEVICES];

static double setting(const char *name, double otherwise) {
    const char *text = getenv(name);
    return text && *text ? atof(text) : otherwise;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double last_tick(double t) {
    double tick = setting("SIM_NVML_TICK", 0.1);
    return (double)(long long)(t / tick) * tick;
}

static double integral(double until) {
    double sum = 0;
    for (int i = 0; i + 1 < points; i++) {
        double a = at[i], b = at[i + 1], end = until < b ? until : b;
        if (b == a || until <= a) continue;
        double w = watt[i] + (watt[i + 1] - watt[i]) * (end - a) / (b - a);
        sum += (watt[i] + w) / 2 * (end - a);
    }
    return sum;
}

static double energy(double t) {
    double period = at[points - 1];
    long long whole = (long long)(t / period);
    return whole * integral(period) + integral(t - whole * period);
}

static double power(double t) {
    double period = at[points - 1], inside = t - (long long)(t / period) * period;
    for (int i = 0; i + 1 < points; i++)
        if (at[i] <= inside && inside < at[i + 1])
            return watt[i] + (watt[i + 1] - watt[i]) * (inside - at[i]) / (at[i + 1] - at[i]);
    return watt[points - 1];
}

static double struck(const char *fault) {
    const char *wanted = getenv("SIM_NVML_FAULT"), *path = getenv("SIM_NVML_FAULT_FILE");
    double at = 1e18;
    FILE *file = wanted && path && !strcmp(wanted, fault) ? fopen(path, "r") : NULL;
    if (file && fscanf(file, "%lf", &at) != 1) at = 1e18;
    if (file) fclose(file);
    return at;
}

static int lost(void) { return now() > struck("lost"); }

int nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    const char *wave = getenv("SIM_NVML_WAVE");
    char copy[1024];
    points = 0;
    snprintf(copy, sizeof copy, "%s", wave ? wave : "0:100,1:100");
    for (char *part = strtok(copy, ","); part && points < MAX_POINTS; part = strtok(NULL, ","))
        if (sscanf(part, "%lf:%lf", &at[points], &watt[points]) == 2) points++;
    for (int i = 0; i < MAX_DEVICES; i++) devices[i] = i;
    return points >= 2 ? SUCCESS : INVALID_ARGUMENT;
}

int nvmlShutdown(void) { return SUCCESS; }

const char *nvmlErrorString(int code) {
    return code == GPU_IS_LOST ? "GPU is lost" : code == NOT_SUPPORTED ? "Not Supported" : "Simulated error";
}

int nvmlSystemGetDriverVersion(char *text, unsigned int size) {
    snprintf(text, size, "580.00-simulated");
    return SUCCESS;
}

int nvmlSystemGetCudaDriverVersion(int *version) { *version = 12080; return SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned int *count) {
    *count = (unsigned int)setting("SIM_NVML_DEVICES", 1);
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **handle) {
    *handle = &devices[index];
    return SUCCESS;
}

/* Slices are called MIG-<card>-<slice>; a slice's handle is its card's. */
int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
    int card;
    if (sscanf(uuid, "MIG-%d-", &card) != 1) return NOT_FOUND;
    *handle = &devices[card];
    return SUCCESS;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *slice, void **card) { *card = slice; return SUCCESS; }

int nvmlDeviceGetUUID(void *handle, char *text, unsigned int size) {
    snprintf(text, size, "GPU-0000000%d-5151-5151-5151-515151515151", *(int *)handle);
    return SUCCESS;
}

int nvmlDeviceGetName(void *handle, char *text, unsigned int size) {
    snprintf(text, size, "Simulated H100 number %d", *(int *)handle);
    return SUCCESS;
}

int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned int *milliwatts) {
    *milliwatts = 700000 * (*(int *)handle + 1);
    return SUCCESS;
}

typedef struct { unsigned int pid; unsigned long long memory; unsigned int gpu, compute; } process;

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned int *count, process *found) {
    (void)handle;
    if (!getenv("SIM_NVML_STRANGER")) { *count = 0; return SUCCESS; }
    if (*count < 1) { *count = 1; return INSUFFICIENT_SIZE; }
    *count = 1;
    memset(found, 0, sizeof *found);
    found->pid = (unsigned int)setting("SIM_NVML_STRANGER", 0);
    return SUCCESS;
}

int nvmlDeviceGetMigMode(void *handle, unsigned int *current, unsigned int *pending) {
    (void)handle;
    *current = *pending = getenv("SIM_NVML_MIG") ? 1 : 0;
    return SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *millijoules) {
    if (getenv("SIM_NVML_NO_COUNTER")) return NOT_SUPPORTED;
    if (lost()) return GPU_IS_LOST;
    double t = now(), frozen = struck("frozen"), reset = struck("reset");
    double joules = energy(last_tick(t > frozen ? frozen : t)) - (t > reset ? energy(last_tick(reset)) : 0);
    *millijoules = (unsigned long long)(joules * 1000 * (*(int *)handle + 1));
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(void *handle, unsigned int *milliwatts) {
    if (lost()) return GPU_IS_LOST;
    *milliwatts = (unsigned int)(power(last_tick(now())) * 1000 * (*(int *)handle + 1));
    return SUCCESS;
}
