/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The rows that the kernel side keeps and Python maps.
 *
 * This file is the only place where their layout is said: kernel/layout.py reads the structs below to make the numpy
 * dtypes, and the loader compiles an assertion for every offset, so the two cannot drift. Keep to one field a line,
 * of type __u32, __u64 or an array of them or of char, and to lengths that leave no hidden padding.
 *
 * All counters only ever grow. Nobody resets them: whoever wants a difference remembers the value before.
 * Words are written one by one, so a reader may see one field of a slice and not yet the next. */

/* What one process or one cgroup used on one package: row * PACKAGES + package is its position. A cache line, and all
 * that a switch touches of a row. The identity is a process's; uses of cgroups leave it 0. */
struct use {
	__u64 alone_ns;	 /* on a CPU whose hyperthread sibling was idle */
	__u64 shared_ns; /* on a CPU whose hyperthread sibling was busy too */
	__u64 cycles;	 /* 0 without a hardware counter, as the next two */
	__u64 misses;	 /* last-level cache misses */
	__u64 instructions;
	__u64 cgroup_id; /* at the latest slice here */
	__u64 leader;	 /* whose use it is: address of the first thread, while the process lives, */
	__u32 tgid;	 /* and its number */
	__u32 cgroup_row;
};

/* One process. Written when it is new, renamed, moved to another cgroup, or gone. */
struct process {
	__u64 start_ns;	  /* start_boottime of its first thread */
	__u64 cgroup_id;  /* at its latest move */
	__u32 tgid;	  /* 0: the row is free, or the overflow row; written last when a row is taken */
	__u32 cgroup_row; /* where that cgroup's sums are kept */
	__u32 dead;	  /* the process is gone: user space books what is left, then recycles the row */
	__u32 kernel;	  /* a kernel thread: it lives in the root cgroup but is nobody's container */
	char comm[16];
	__u32 parent;  /* tgid of the process that it was a child of when its row was made */
	__u32 adopted; /* user space made the row, and the process has not run since: see row_of */
};

/* One cgroup. Exact even when process rows run out. */
struct cgroup {
	__u64 id;
	__u32 taken; /* 0: free, or a reserved row (overflow, kernel threads); written last when a row is taken */
	__u32 unused;
};

/* One CPU and the slice that is open on it. Written by that CPU alone, but where the task moves to another cgroup. */
struct cpu {
	__u64 since_ns;	       /* when the open slice began; 0 before the first, and while a switch is under way */
	__u64 task;	       /* address of the task that runs; 0: the idle task */
	__u64 ran_ns;	       /* that task's CPU time when the slice began, by the scheduler's clock */
	__u64 busy_ns;	       /* closed slices of all tasks but the idle one */
	__u64 sibling_busy_ns; /* the sibling's busy time when the open slice began */
	__u32 use;	       /* position of the open slice's process, and of its cgroup */
	__u32 cgroup_use;
	__u32 sibling; /* CPU number of the other hyperthread; its own number where there is none */
	__u32 package;
	__u64 left_ns;	    /* of the open slice, what cgroups have that its task was in before: see on_attach */
	__u64 cycles_at[3]; /* hardware counters when the open slice began: value, enabled, running */
	__u64 misses_at[3];
	__u64 instructions_at[3];
	__u32 enabled;	     /* set by user space once sibling and package are right; nothing is booked before */
	__u32 cycles_per_us; /* what a slice is taken for where this CPU's counter does not count */
	__u64 pad[6];	     /* whole cache lines: no two CPUs write to the same one */
};

/* Things counted once. */
struct totals {
	__u64 row_overflow_slices;    /* slices booked to the overflow row because no row was free */
	__u64 cgroup_overflow_slices; /* likewise for cgroup rows */
	__u64 dead_rows;	      /* rows marked dead: user space looks for them only when this has grown */
	__u64 cgroup_events;	      /* cgroups that came and went: likewise */
};

/* A cgroup that came (with its path, which stays good when the cgroup is long gone) or went (without). */
struct cgroup_event {
	__u64 id;
	__u32 removed; /* 0: made, 1: removed */
	__u32 unused;
	char path[512];
};
