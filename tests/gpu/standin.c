/*
 * A stand-in for libnvidia-ml.so.1, for tests without a GPU: just what kepler-ebpf asks of it. The state of its GPUs
 * is read at every call from the text file named by KEPLER_TEST_NVML, one line a fact:
 *
 *   gpu INDEX ENERGY_MJ POWER_MW LOST MIG     (energy -1: not supported)
 *   use INDEX PID SM_PERCENT TIMESTAMP_US
 *   run INDEX PID
 *
 * Built with -DNO_ENERGY it lacks nvmlDeviceGetTotalEnergyConsumption, as drivers of old do.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, LOST = 15, DRIVER_NOT_LOADED = 9 };

struct gpu { int index; long long energy, power; int lost, mig, there; };
struct use { unsigned pid; unsigned long long time; unsigned sm, mem, enc, dec; };
struct process { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; };

static struct gpu gpus[8];

static FILE *state(void)
{
	const char *path = getenv("KEPLER_TEST_NVML");
	return path ? fopen(path, "r") : NULL;
}

static int load(void)
{
	char line[256];
	int count = 0;
	FILE *file = state();
	if (!file)
		return 0;
	memset(gpus, 0, sizeof(gpus));
	while (fgets(line, sizeof(line), file)) {
		struct gpu g = {0};
		if (sscanf(line, "gpu %d %lld %lld %d %d", &g.index, &g.energy, &g.power, &g.lost, &g.mig) == 5) {
			g.there = 1;
			gpus[g.index] = g;
			count++;
		}
	}
	fclose(file);
	return count;
}

static struct gpu *get(void *handle)
{
	load();
	return handle;
}

const char *nvmlErrorString(int code) { return code == LOST ? "GPU is lost" : "stand-in error"; }
int nvmlInitWithFlags(unsigned flags) { return load() ? SUCCESS : DRIVER_NOT_LOADED; }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = load(); return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) { *handle = &gpus[index]; return SUCCESS; }
int nvmlDeviceGetUUID(void *handle, char *uuid, unsigned size)
{
	snprintf(uuid, size, "GPU-%d", (int)((struct gpu *)handle - gpus));
	return SUCCESS;
}
int nvmlDeviceGetName(void *handle, char *name, unsigned size) { snprintf(name, size, "Stand-in"); return SUCCESS; }
#ifndef NO_ENERGY
int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *energy)
{
	struct gpu *g = get(handle);
	if (g->lost)
		return LOST;
	if (g->energy < 0)
		return NOT_SUPPORTED;
	*energy = g->energy;
	return SUCCESS;
}
#endif
int nvmlDeviceGetPowerUsage(void *handle, unsigned *power)
{
	struct gpu *g = get(handle);
	*power = g->power;
	return g->lost ? LOST : SUCCESS;
}
int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending)
{
	*current = *pending = get(handle)->mig;
	return SUCCESS;
}
int nvmlDeviceGetProcessUtilization(void *handle, struct use *out, unsigned *count, unsigned long long since)
{
	int index = (struct gpu *)handle - gpus, of;
	unsigned n = 0;
	char line[256];
	FILE *file;
	if (get(handle)->mig)
		return NOT_SUPPORTED;
	file = state();
	while (file && fgets(line, sizeof(line), file)) {
		struct use u = {0};
		if (sscanf(line, "use %d %u %u %llu", &of, &u.pid, &u.sm, &u.time) == 4 && of == index && u.time > since) {
			if (out && n < *count)
				out[n] = u;
			n++;
		}
	}
	if (file)
		fclose(file);
	if (!n)
		return NOT_FOUND;
	*count = n;
	return out ? SUCCESS : INSUFFICIENT_SIZE;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, struct process *out)
{
	int index = (struct gpu *)handle - gpus, of;
	unsigned n = 0, pid;
	char line[256];
	FILE *file = state();
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "run %d %u", &of, &pid) == 2 && of == index) {
			if (out && n < *count)
				out[n] = (struct process){.pid = pid};
			n++;
		}
	if (file)
		fclose(file);
	if (n && (!out || *count < n)) {
		*count = n;
		return INSUFFICIENT_SIZE;
	}
	*count = n;
	return SUCCESS;
}
