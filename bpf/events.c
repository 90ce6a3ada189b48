/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What changes a row besides a switch: names, and cgroups that come and go between two looks of user space. */

/* task:task_rename(struct task_struct *task, const char *comm): the name is read anew at the next switch to it. */
int on_rename(struct bpf_raw_tracepoint_args *ctx)
{
	u64 task = ctx->args[0];
	u32 *first = hint(half_at(task + TASK_TGID));

	if (first)
		*first = OVERFLOW_ROW;
	return 0;
}

/* sched:sched_process_exec(struct task_struct *task, ...): it may run for long before it is switched out. */
int on_exec(struct bpf_raw_tracepoint_args *ctx)
{
	u64 task = ctx->args[0];
	struct cpu *cpu = this_cpu();
	u32 row = cpu ? cpu->use / PACKAGES : OVERFLOW_ROW;
	struct process *process = processes.lookup(&row);

	if (process && row != OVERFLOW_ROW && process->tgid == half_at(task + TASK_TGID))
		copy_comm(process, task);
	return 0;
}

static __always_inline int tell(u64 cgroup, u32 removed, u64 path)
{
	u32 zero = 0;
	struct cgroup_event *event = cgroup_event_scratch.lookup(&zero);

	if (!event || half_at(word_at(cgroup + CGROUP_ROOT) + CGROUP_ROOT_HIERARCHY_ID) != HIERARCHY)
		return 0;
	event->id = id_of(cgroup);
	event->removed = removed;
	event->path[0] = 0;
#ifdef STRINGS /* a string has no type to load it by, and lockdown forbids this helper */
	if (!removed)
		bpf_probe_read_kernel_str(event->path, sizeof(event->path), (void *)path);
#endif
	cgroup_events.push(event, BPF_EXIST);
	return 0;
}

/* cgroup:cgroup_mkdir(struct cgroup *cgrp, const char *path) */
int on_mkdir(struct bpf_raw_tracepoint_args *ctx)
{
	return tell(ctx->args[0], 0, ctx->args[1]);
}

/* cgroup:cgroup_rmdir(struct cgroup *cgrp, const char *path) */
int on_rmdir(struct bpf_raw_tracepoint_args *ctx)
{
	return tell(ctx->args[0], 1, 0);
}
