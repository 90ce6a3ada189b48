/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The rows that the kernel side keeps and Python maps.
 *
 * This file is the only place where their layout is said: kernel/layout.py reads the structs below to make the numpy
 * dtypes, and the loader compiles an assertion for every offset, so the two cannot drift. Keep to one field a line,
 * of type __u32, __u64 or char[n], and to lengths that leave no hidden padding.
 *
 * All counters only ever grow. Nobody resets them: whoever wants a difference remembers the value before.
 * Words are written one by one, so a reader may see one field of a slice and not yet the next.
 */

/* Bits of row.flags. */
#define KERNEL_THREAD 1  /* lives in the root cgroup but is nobody's container */
#define LEADER_EXITED 2  /* the first thread is done: a leader that runs under this tgid is a new process */
#define RETIRED 4        /* the number may have a new owner: find the row of this tgid afresh */

/* One process on one package (socket). The first 64 bytes, a cache line, are all that a slice touches. */
struct row {
	__u64 alone_ns;   /* on a CPU whose hyperthread sibling was idle */
	__u64 shared_ns;  /* on a CPU whose hyperthread sibling was busy too */
	__u64 cycles;     /* 0 without a hardware counter */
	__u64 misses;     /* last-level cache misses, 0 without a hardware counter */
	__u64 switches;   /* slices ended by the scheduler */
	__u64 cgroup_id;  /* cgroup id at its latest slice */
	__u32 cgroup_row; /* where that cgroup's sums are kept */
	__u32 tgid;       /* 0: the row is free, or an overflow row; written last when a row is taken */
	__u32 package;
	__u32 flags;
	__u64 start_ns;   /* CLOCK_MONOTONIC when its first slice began: tgid and start together are an identity */
	__u32 dead;       /* the process is gone: user space books what is left, then recycles the row */
	__u32 unused;
	char comm[16];
	__u64 pad[4];     /* whole cache lines */
};

/* One cgroup on one package. Exact even when process rows run out. */
struct cgroup {
	__u64 alone_ns;
	__u64 shared_ns;
	__u64 cycles;
	__u64 misses;
	__u64 start_ns;
	__u64 id;         /* 0: free, or a reserved row (overflow, kernel threads) */
	__u32 package;
	__u32 taken;      /* written last when a row is taken */
	__u64 pad;        /* a whole cache line */
};

/* One CPU: the slice that is open on it now. Written by that CPU alone. */
struct cpu {
	__u64 since_ns;         /* when the open slice began; 0 before the first switch seen */
	__u64 busy_ns;          /* closed slices of all tasks but the idle one */
	__u64 sibling_busy_ns;  /* the sibling's busy time when the open slice began */
	__u64 idle_task;        /* address of this CPU's idle task, learnt when it is first switched out */
	__u64 exiting;          /* pid_tgid of a task that has passed its exit event and not yet been switched out */
	__u64 cycles_value;     /* hardware counters when the open slice began */
	__u64 cycles_enabled;
	__u64 cycles_running;
	__u64 misses_value;
	__u64 misses_enabled;
	__u64 misses_running;
	__u32 exiting_row;
	__u32 idle;             /* the idle task is running */
	__u32 sibling;          /* CPU number of the other hyperthread; its own number where there is none */
	__u32 package;
	__u32 enabled;          /* set by user space once sibling and package are right; nothing is booked before */
	__u32 unused;
	__u32 recent[8];        /* rows of processes that ran here lately, by the low bits of tgid: a hint, checked */
	__u64 pad[6];           /* whole cache lines: no two CPUs write to the same one */
};

/* Things counted once. */
struct totals {
	__u64 row_overflow_slices;     /* slices booked to the overflow row because no row was free */
	__u64 cgroup_overflow_slices;  /* likewise for cgroup rows */
	__u64 dead_rows;               /* rows marked dead: user space looks for them only when this has grown */
};

/* A cgroup that came (with its path, which stays good when the cgroup is long gone) or went (without). */
struct cgroup_event {
	__u64 id;
	__u32 removed;   /* 0: made, 1: removed */
	__u32 unused;
	char path[512];
};
