/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Who a row belongs to. A pid is not an identity: the number may have a new owner within microseconds.
 *
 *   fork    by kthreadd: the child is a kernel thread
 *   rename  exec or prctl: the row's comm is out of date
 *   exit    the task's number may be given away before its last slice ends: remember its row until then; and when it is
 *           the leader, remember which process it was
 *   free    the kernel drops the leader, and so the process: retire its rows
 *
 * All of them are raw tracepoints. A program on an ordinary tracepoint is skipped while anybody on that CPU is inside
 * bpf(2) (trace_call_bpf() in kernel/trace/bpf_trace.c), and we are there often enough to lose one death in a thousand.
 * A task is known here by its address, which is unique while the task exists; nothing is read through it.
 */

/* sched:sched_process_fork(struct task_struct *parent, struct task_struct *child), in the context of the parent */
int on_fork(struct bpf_raw_tracepoint_args *ctx)
{
	u64 child = ctx->args[1];
	u32 one = 1;

	/* Kernel threads are the children of kthreadd, always pid 2. */
	if (bpf_get_current_pid_tgid() >> 32 == 2)
		kernel_threads.update(&child, &one);
	return 0;
}

/* task:task_rename(struct task_struct *task, const char *comm); another task's name is left to user space */
int on_rename(struct bpf_raw_tracepoint_args *ctx)
{
	u64 id = bpf_get_current_pid_tgid();

	if (ctx->args[0] != bpf_get_current_task() || (u32)id != id >> 32)
		return 0;
#pragma unroll
	for (u32 package = 0; package < PACKAGES; package++) {
		struct row_key key = {.tgid = id >> 32, .package = package};
		u32 *index = row_of.lookup(&key);
		struct row *row = index ? rows.lookup(index) : NULL;

		if (!row)
			continue;
		/* What stands behind the new name's NUL is of the old one. */
		__builtin_memset(row->comm, 0, sizeof(row->comm));
		bpf_probe_read_kernel_str(row->comm, sizeof(row->comm), (void *)ctx->args[1]);
	}
	return 0;
}

/* sched:sched_process_exit(struct task_struct *task, ...), in the context of the dying task */
int on_exit(struct bpf_raw_tracepoint_args *ctx)
{
	u64 id = bpf_get_current_pid_tgid(), task = bpf_get_current_task(), tgid = id >> 32;
	u32 number = bpf_get_smp_processor_id();
	struct cpu *cpu = cpus.lookup(&number);

	if (!cpu || !cpu->enabled)
		return 0;
	cpu->exiting_row = row_index(tgid, cpu->package, cpu->since_ns);
	cpu->exiting = id;
	if ((u32)id != tgid)
		return 0;

	struct row *row = rows.lookup(&cpu->exiting_row);
	if (row && cpu->exiting_row >= PACKAGES) {
		struct identity who = {.start_ns = row->start_ns, .tgid = tgid};

		row->flags |= LEADER_EXITED;
		exited_leaders.update(&task, &who);
	}
	kernel_threads.delete(&task);
	kernel_threads.delete(&tgid);
	return 0;
}

/* sched:sched_process_free(struct task_struct *task), an RCU grace period after the last slice */
int on_free(struct bpf_raw_tracepoint_args *ctx)
{
	u64 task = ctx->args[0];
	struct identity *who = exited_leaders.lookup(&task);

	if (!who)
		return 0;
	retire(who->tgid, who->start_ns);
	exited_leaders.delete(&task);
	return 0;
}
