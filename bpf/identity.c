/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Who a row belongs to. A pid is not an identity: the number may have a new owner within microseconds.
 *
 *   fork  the number of the new task cannot belong to an older process any more: retire a row that says so
 *   rename  exec or prctl: the row's comm is out of date
 *   exit  the task's number may be given away before its last slice ends: remember its row until then
 *   free  the kernel drops the process (its leader, to be exact): retire the row
 */

/* Mark the rows of this process dead and forget its number. Returns whether there were any. */
static __always_inline int retire(u32 tgid)
{
	int found = 0;

#pragma unroll
	for (u32 package = 0; package < PACKAGES; package++) {
		struct row_key key = {.tgid = tgid, .package = package};
		u32 *index = row_of.lookup(&key);

		if (!index)
			continue;
		struct row *row = rows.lookup(index);
		if (row)
			row->dead = 1;
		row_of.delete(&key);
		found = 1;
	}
	if (found) {
		u32 zero = 0;
		struct totals *sums = totals.lookup(&zero);

		if (sums)
			__sync_fetch_and_add(&sums->dead_rows, 1);
	}
	kernel_threads.delete(&tgid);
	return found;
}

TRACEPOINT_PROBE(sched, sched_process_fork)
{
	u32 child = args->child_pid, one = 1;

	/* A row under this number is of an owner who is gone, but whose free event is still to come. */
	if (retire(child))
		early_reuse.update(&child, &one);
	/* Kernel threads are the children of kthreadd, always pid 2. */
	if (bpf_get_current_pid_tgid() >> 32 == 2)
		kernel_threads.update(&child, &one);
	return 0;
}

/* Threads are freed under numbers that no row has; only a leader's number is a tgid. */
TRACEPOINT_PROBE(sched, sched_process_free)
{
	u32 pid = args->pid;

	if (early_reuse.delete(&pid) == 0)
		return 0; /* this was the free event of the number's former owner */
	retire(pid);
	return 0;
}

/* sched:sched_process_exit(struct task_struct *task, ...), in the context of the dying task */
int on_exit(struct bpf_raw_tracepoint_args *ctx)
{
	u64 id = bpf_get_current_pid_tgid();
	u32 number = bpf_get_smp_processor_id();
	struct cpu *cpu = cpus.lookup(&number);

	if (!cpu || !cpu->since_ns)
		return 0;
	cpu->exiting_row = row_index(id >> 32, cpu->package, cpu->since_ns);
	cpu->exiting = id;
	return 0;
}

TRACEPOINT_PROBE(task, task_rename)
{
	u32 pid = args->pid;

#pragma unroll
	for (u32 package = 0; package < PACKAGES; package++) {
		struct row_key key = {.tgid = pid, .package = package};
		u32 *index = row_of.lookup(&key);

		if (!index)
			continue;
		struct row *row = rows.lookup(index);
		if (row)
#ifdef RENAME_DATA_LOC
			TP_DATA_LOC_READ_CONST(row->comm, newcomm, sizeof(row->comm));
#else
			bpf_probe_read_kernel(row->comm, sizeof(row->comm), (void *)args->newcomm);
#endif
	}
	return 0;
}
