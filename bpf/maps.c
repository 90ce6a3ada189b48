/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Maps. The loader defines ROWS, CGROUPS, CPUS, PACKAGES (how many of each), HINTS (a power of two), CYCLES, MISSES and
 * INSTRUCTIONS where there are counters to read, and the offsets of what tasks.c reads. */
#define __always_inline inline __attribute__((always_inline))
#define MMAPABLE	(1U << 10) /* BPF_F_MMAPABLE, Linux kernel commit fc9702273e2e (in v5.5) */

/* Rows that are never free: what had no row of its own, and all kernel threads together. */
#define OVERFLOW_ROW	  0
#define KERNEL_CGROUP_ROW 1

BPF_F_TABLE("array", u32, struct process, processes, ROWS, MMAPABLE);
BPF_F_TABLE("array", u32, struct use, process_uses, ROWS *PACKAGES, MMAPABLE);
BPF_F_TABLE("array", u32, struct cgroup, cgroups, CGROUPS, MMAPABLE);
BPF_F_TABLE("array", u32, struct use, cgroup_uses, CGROUPS *PACKAGES, MMAPABLE);
BPF_F_TABLE("array", u32, struct cpu, cpus, CPUS, MMAPABLE);
BPF_F_TABLE("array", u32, struct totals, totals, 1, MMAPABLE);

/* Free rows, lowest on top, so that the rows in use stay together at the front. */
BPF_QUEUESTACK("stack", free_rows, u32, ROWS, 0);
BPF_QUEUESTACK("stack", free_cgroups, u32, CGROUPS, 0);

/* Whose row is whose. User space removes what it recycles. `start_ns` 0: a row that user space made (adopt_process). */
struct identity {
	u64 start_ns;
	u64 tgid;
};
BPF_HASH(row_of, struct identity, u32, ROWS);
BPF_HASH(cgroup_of, u64, u32, CGROUPS);

/* Where to look first, by the low bits of tgid, as a look-up in a hash costs more than all the rest of a switch. Only
 * hints: the row says whose it is. A cache line for sixteen processes that were made one after the other. */
struct hints {
	u32 row[16];
};
BPF_ARRAY(hints, struct hints, HINTS / 16);

/* Cgroups that came and went since user space last looked; when full, the oldest make way. */
BPF_QUEUESTACK("queue", cgroup_events, struct cgroup_event, 4096, 0);
/* Where an event is put together: the stack is too small. Only one cgroup is made or removed at a time (cgroup_mutex). */
BPF_PERCPU_ARRAY(cgroup_event_scratch, struct cgroup_event, 1);

#ifdef CYCLES
BPF_PERF_ARRAY(cycle_counters, CPUS);
#endif
#ifdef MISSES
BPF_PERF_ARRAY(miss_counters, CPUS);
#endif
#ifdef INSTRUCTIONS
BPF_PERF_ARRAY(instruction_counters, CPUS);
#endif
