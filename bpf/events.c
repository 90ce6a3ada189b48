/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* What changes a row besides a switch: names, ends, moves; and cgroups that come and go between two looks. */

/* task:task_rename(struct task_struct *task, const char *comm): the name is read anew at the next switch to it. */
int on_rename(struct bpf_raw_tracepoint_args *ctx)
{
	forget(half_at(ctx->args[0] + TASK_TGID));
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

/* sched:sched_process_exit(struct task_struct *task, ...): the scheduler forgets soon after what the task had run when it
 * was picked (sched_autogroup_exit_task() in do_exit()), so a begin that was not told is made up for now. */
int on_exit(struct bpf_raw_tracepoint_args *ctx)
{
	struct cpu *cpu = this_cpu();

	if (cpu && mistaken(cpu, ctx->args[0]))
		recover_slice(cpu, ctx->args[0], bpf_ktime_get_ns());
	return 0;
}

/* cgroup:cgroup_attach_task(struct cgroup *to, const char *path, struct task_struct *task, bool threadgroup), when it has
 * moved, or its whole process. What runs now may run for seconds yet, so its slice is cut, on whatever CPU it is: what it
 * has come to, in all else as the process has been so far, is its former cgroup's. This CPU is looked at first, and no
 * more than the verifier can follow. */
#define LOOKED_AT (CPUS < 512 ? CPUS : 512)

int on_attach(struct bpf_raw_tracepoint_args *ctx)
{
	u64 task = ctx->args[2], now = bpf_ktime_get_ns(), since, ran;
	u32 here = bpf_get_smp_processor_id(), number, key;
	u32 row = find_cgroup(task, cgroup_id(task)), of_all = (u8)ctx->args[3] ? half_at(task + TASK_TGID) : 0;

	for (number = 0; number < LOOKED_AT; number++) {
		struct use *process, *former;
		struct cpu *cpu;
		struct use slice;

		key = (here + number) % CPUS;
		cpu = cpus.lookup(&key);
		if (!cpu)
			break;
		key = cpu->use;
		process = process_uses.lookup(&key);
		if (!process)
			break;
		since = cpu->since_ns;
		if (!since || (cpu->task != task && (!cpu->task || !of_all || process->tgid != of_all)))
			continue;
		key = cpu->cgroup_use;
		former = cgroup_uses.lookup(&key);
		if (!former)
			break;
		/* The clock of a task that is not told cannot be read. */
		ran = cpu->task == task ? ran_ns(task) - cpu->ran_ns : now - since;
		if ((s64)(ran - cpu->left_ns) > 0) {
			slice = *process;
			cut(&slice, ran - cpu->left_ns);
			add(former, &slice);
			cpu->left_ns = ran;
		}
		cpu->cgroup_use = row * PACKAGES + cpu->package;
	}
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
	COUNT(cgroup_events);
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
