/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What is read of the kernel's own structures. The programs are typed (BPF_TRACE_RAW_TP, Linux kernel commit
 * 9e15db66136a, in v5.5): the verifier knows what their arguments point to, so a word is read by one plain load, without
 * a helper and without the kernel's headers. The loader takes the offsets from the kernel's type information (BTF). */
#define PF_KTHREAD 0x00200000 /* include/linux/sched.h */
#define TASK_DEAD  0x80

static __always_inline u64 word_at(u64 address)
{
	return *(volatile u64 *)address;
}

static __always_inline u32 half_at(u64 address)
{
	return *(volatile u32 *)address;
}

/* CPU time by the scheduler's own clock: without what a hypervisor took, or interrupts where the kernel counts those. */
static __always_inline u64 ran_ns(u64 task)
{
	return word_at(task + TASK_SE + SE_SUM_EXEC_RUNTIME);
}

/* Switched out for good. */
static __always_inline int is_dead(u64 task)
{
#ifdef TASK_STATE_IS_LONG /* before Linux kernel commit 2f064a59a11f (in v5.14) */
	return word_at(task + TASK_STATE) & TASK_DEAD;
#else
	return half_at(task + TASK_STATE) & TASK_DEAD;
#endif
}

/* Whether all threads of the process have begun to exit. */
static __always_inline int is_last(u64 task)
{
	return half_at(word_at(task + TASK_SIGNAL) + SIGNAL_LIVE) == 0;
}

static __always_inline u64 id_of(u64 cgroup)
{
	return word_at(word_at(cgroup + CGROUP_KN) + KERNFS_NODE_ID);
}

/* The id of the task's cgroup: on machines with v1 alone, of its cgroup in one of those hierarchies. */
static __always_inline u64 cgroup_id(u64 task)
{
	u64 set = word_at(task + TASK_CGROUPS);

#ifdef SUBSYSTEM
	return id_of(word_at(word_at(set + CSS_SET_SUBSYS + sizeof(u64) * SUBSYSTEM) + CSS_CGROUP));
#else
	return id_of(word_at(set + CSS_SET_DFL_CGRP));
#endif
}

/* The name of the first thread. */
static __always_inline void copy_comm(struct process *process, u64 task)
{
	u64 leader = word_at(task + TASK_GROUP_LEADER);

	*(u64 *)process->comm = word_at(leader + TASK_COMM);
	*(u64 *)(process->comm + 8) = word_at(leader + TASK_COMM + 8);
}
