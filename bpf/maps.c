/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Maps. The loader defines ROWS, CGROUPS, CPUS, PACKAGES (how many of each), and CYCLES and MISSES where there are
 * counters to read.
 *
 * The first PACKAGES rows are reserved: the overflow row of each package. The first PACKAGES cgroup rows likewise,
 * and the next PACKAGES are for kernel threads, which live in the root cgroup but are nobody's container.
 */
#define __always_inline inline __attribute__((always_inline))
#define MMAPABLE (1U << 10) /* BPF_F_MMAPABLE, Linux kernel commit fc9702273e2e (in v5.5) */

BPF_F_TABLE("array", u32, struct row, rows, ROWS, MMAPABLE);
BPF_F_TABLE("array", u32, struct cgroup, cgroups, CGROUPS, MMAPABLE);
BPF_F_TABLE("array", u32, struct cpu, cpus, CPUS, MMAPABLE);
BPF_F_TABLE("array", u32, struct totals, totals, 1, MMAPABLE);

/* Free rows, lowest on top, so that the rows in use stay together at the front. */
BPF_QUEUESTACK("stack", free_rows, u32, ROWS, 0);
BPF_QUEUESTACK("stack", free_cgroups, u32, CGROUPS, 0);

struct row_key {
	u32 tgid;
	u32 package;
};
struct cgroup_key {
	u64 id;
	u64 package;
};
BPF_HASH(row_of, struct row_key, u32, ROWS);
BPF_HASH(cgroup_of, struct cgroup_key, u32, CGROUPS);

/* Kernel threads: by tgid those that user space found at the start, by address of the task those born since. */
BPF_HASH(kernel_threads, u64, u32, ROWS);

/* Leaders that have exited, by address of the task, until the kernel frees them: whose rows to retire then. */
struct identity {
	u64 start_ns;
	u32 tgid;
	u32 unused;
};
BPF_HASH(exited_leaders, u64, struct identity, ROWS);

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
