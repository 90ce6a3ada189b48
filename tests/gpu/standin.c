/*
 * A stand-in for libnvidia-ml.so.1, for tests without a GPU: just what kepler-ebpf asks of it. It is no GPU and no
 * driver: it shows what our side does with answers, not that drivers give them. The state of its GPUs is read at
 * every call from the text file named by KEPLER_TEST_NVML, one line a fact:
 *
 *   gpu INDEX ENERGY_MJ POWER_MW LOST MIG     (energy or power -1: not supported; lost 2: the handle is refused, too)
 *   use INDEX PID SM_PERCENT TIMESTAMP_US
 *   run INDEX PID [INSTANCE]
 *   load INDEX PERCENT                        (without: not supported)
 *   limit INDEX POWER_MW                      (enforced; without: not supported)
 *   instance INDEX INSTANCE MULTIPROCESSORS   (of a GPU with MIG)
 *   error CALL CODE                           (what init, count, energy, power, use or run of every GPU answers)
 *   hang SECONDS                              (so long every call takes)
 *
 * Without the file the driver is not loaded: every call says so.
 *
 * Built with -DNO_ENERGY it lacks nvmlDeviceGetTotalEnergyConsumption, as drivers of old do.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, UNINITIALIZED = 1, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, LOST = 15, DRIVER_NOT_LOADED = 9 };

struct gpu { int index; long long energy, power; int lost, mig, there; };
struct use { unsigned pid; unsigned long long time; unsigned sm, mem, enc, dec; };
struct instance { int gpu, number; unsigned multiprocessors; };
struct utilization { unsigned gpu, memory; };
struct attributes { unsigned multiprocessors, rest[7]; unsigned long long memory; };
struct process { unsigned pid; unsigned long long memory; unsigned gpu_instance, compute_instance; };

static struct gpu gpus[8];
static struct instance instances[16];
static int initialized;

static FILE *state(void)
{
	const char *path = getenv("KEPLER_TEST_NVML");
	return path ? fopen(path, "r") : NULL;
}

static int load(void)
{
	char line[256];
	int count = 0, instance = 0, seconds;
	FILE *file = state();
	if (!file) {
		initialized = 0;
		return 0;
	}
	memset(gpus, 0, sizeof(gpus));
	memset(instances, 0, sizeof(instances));
	while (fgets(line, sizeof(line), file)) {
		struct gpu g = {0};
		struct instance i = {0};
		if (sscanf(line, "gpu %d %lld %lld %d %d", &g.index, &g.energy, &g.power, &g.lost, &g.mig) == 5) {
			g.there = 1;
			gpus[g.index] = g;
			count++;
		} else if (sscanf(line, "instance %d %d %u", &i.gpu, &i.number, &i.multiprocessors) == 3) {
			instances[instance++] = i;
		} else if (sscanf(line, "hang %d", &seconds) == 1) {
			sleep(seconds);
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

/* What a line of the state says that this call answers: SUCCESS where none does. */
static int answer(const char *call)
{
	char line[256], name[32];
	int code, found = initialized ? SUCCESS : UNINITIALIZED;
	FILE *file = state();
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "error %31s %d", name, &code) == 2 && !strcmp(name, call))
			found = code;
	if (file)
		fclose(file);
	return found;
}

const char *nvmlErrorString(int code) { return code == LOST ? "GPU is lost" : "stand-in error"; }
int nvmlInitWithFlags(unsigned flags)
{
	if (!load())
		return DRIVER_NOT_LOADED;
	initialized = 1;
	return answer("init");
}
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { initialized = 0; return SUCCESS; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = load(); return answer("count"); }
static int handle_of(unsigned index, void **handle) { *handle = &gpus[index]; return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle)
{
	load();
	return gpus[index].lost == 2 ? LOST : handle_of(index, handle);
}
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
	int error = answer("energy");
	if (error)
		return error;
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
	int error = answer("power");
	if (error)
		return error;
	if (g->power < 0)
		return NOT_SUPPORTED;
	*power = g->power;
	return g->lost ? LOST : SUCCESS;
}
/* The number in the state's line "WORD INDEX NUMBER" of this GPU. */
static int fact(const char *word, void *handle, unsigned *number)
{
	int index = (struct gpu *)handle - gpus, of, error = NOT_SUPPORTED;
	unsigned value;
	char line[256], name[32];
	FILE *file = state();
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%31s %d %u", name, &of, &value) == 3 && !strcmp(name, word) && of == index) {
			*number = value;
			error = SUCCESS;
		}
	if (file)
		fclose(file);
	return error;
}
int nvmlDeviceGetUtilizationRates(void *handle, struct utilization *rates) { return fact("load", handle, &rates->gpu); }
int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *limit) { return fact("limit", handle, limit); }
int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) { *count = 7; return SUCCESS; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned number, void **instance)
{
	int index = (struct gpu *)handle - gpus;
	for (int i = 0; i < 16; i++)
		if (instances[i].multiprocessors && instances[i].gpu == index && instances[i].number == (int)number) {
			*instance = &instances[i];
			return SUCCESS;
		}
	return NOT_FOUND;
}
int nvmlDeviceGetAttributes_v2(void *instance, struct attributes *attributes)
{
	attributes->multiprocessors = ((struct instance *)instance)->multiprocessors;
	return SUCCESS;
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
	if (answer("use"))
		return answer("use");
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
	struct instance *instance = handle;
	int divided = instance >= instances && instance < instances + 16, of, in;
	int index = divided ? instance->gpu : (struct gpu *)handle - gpus;
	unsigned n = 0, pid;
	char line[256];
	FILE *file;
	if (answer("run"))
		return answer("run");
	file = state();
	while (file && fgets(line, sizeof(line), file))
		if (in = -1, sscanf(line, "run %d %u %d", &of, &pid, &in) >= 2 && of == index &&
		    (!divided || in == instance->number)) {
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
