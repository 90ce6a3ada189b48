/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Slices: from the moment a task is switched in to the moment it is switched out, or to the moment user space asks
 * (close_slice), whichever comes first. Every slice is booked to its process's row and its cgroup's row.
 *
 * A raw tracepoint hands us the arguments as bare words and no structure of the kernel is read, so the programs need
 * neither kernel headers nor offsets. In sched_switch `current` is still the task being switched out.
 */

#define KERNEL_NAMING_SLICES 4

/* How many cycles or misses since the slice began, scaled up where the counter had to share the hardware. */
static __always_inline u64 counted(struct bpf_perf_event_value *now, u64 value, u64 enabled, u64 running)
{
	u64 count = now->counter - value;

	enabled = now->enabled - enabled;
	running = now->running - running;
	if (running < enabled) {
		/* perf_event_open(2): count * enabled / running; in µs, so that a minute's slice cannot overflow. */
		running >>= 10;
		return running ? count * (enabled >> 10) / running : 0;
	}
	return count;
}

/* A CPU's busy time up to now, its open slice included. */
static __always_inline u64 busy_until(struct cpu *cpu, u64 now)
{
	u64 busy = cpu->busy_ns, since = cpu->since_ns;

	return !cpu->idle && since && now > since ? busy + (now - since) : busy;
}

static __always_inline void count_overflow(u32 of_cgroups)
{
	u32 zero = 0;
	struct totals *sums = totals.lookup(&zero);

	if (sums)
		__sync_fetch_and_add(of_cgroups ? &sums->cgroup_overflow_slices : &sums->row_overflow_slices, 1);
}

static __always_inline int is_kernel_thread(u64 tgid)
{
	u64 task = bpf_get_current_task();

	return kernel_threads.lookup(&task) || kernel_threads.lookup(&tgid);
}

/*
 * Mark the rows of this process dead and forget its number; where `start_ns` is not 0, only if they are of the process
 * that began then.
 */
static __always_inline void retire(u32 tgid, u64 start_ns)
{
	u32 zero = 0;
	struct totals *sums = totals.lookup(&zero);

#pragma unroll
	for (u32 package = 0; package < PACKAGES; package++) {
		struct row_key key = {.tgid = tgid, .package = package};
		u32 *index = row_of.lookup(&key);
		struct row *row = index ? rows.lookup(index) : NULL;

		if (!row || (start_ns && row->start_ns != start_ns))
			continue;
		row->flags |= RETIRED;
		row->dead = 1;
		row_of.delete(&key);
		if (sums)
			__sync_fetch_and_add(&sums->dead_rows, 1);
	}
}

/* The row of this process on this package: taken from the free rows at its first slice. */
static __always_inline u32 row_index(u32 tgid, u32 package, u64 since)
{
	struct row_key key = {.tgid = tgid, .package = package};
	u32 *known = row_of.lookup(&key), index;
	struct row *row;

	if (known)
		return *known;
	if (free_rows.pop(&index) != 0)
		return package;
	row = rows.lookup(&index);
	if (!row)
		return package;
	row->start_ns = since;
#pragma unroll
	for (u32 other = 0; other < PACKAGES; other++) {
		/* One process, one start, also where it has run on several packages. */
		struct row_key elsewhere = {.tgid = tgid, .package = other};
		u32 *sister = row_of.lookup(&elsewhere);
		struct row *first = sister ? rows.lookup(sister) : NULL;

		if (first)
			row->start_ns = first->start_ns;
	}
	row->package = package;
	row->flags = is_kernel_thread(tgid) ? KERNEL_THREAD : 0;
	row->cgroup_id = 0;
	bpf_get_current_comm(&row->comm, sizeof(row->comm));
	if (row_of.insert(&key, &index) != 0) {
		/* A second thread, on another CPU, was faster (or the hash is full): give the row back. */
		free_rows.push(&index, 0);
		known = row_of.lookup(&key);
		return known ? *known : package;
	}
	row->tgid = tgid;
	return index;
}

static __always_inline u32 cgroup_index(u64 id, u32 package, u32 kernel, u64 since)
{
	struct cgroup_key key = {.id = id, .package = package};
	struct cgroup *cgroup;
	u32 *known, index;

	if (kernel)
		return PACKAGES + package;
	known = cgroup_of.lookup(&key);
	if (known)
		return *known;
	if (free_cgroups.pop(&index) != 0)
		return package;
	cgroup = cgroups.lookup(&index);
	if (!cgroup)
		return package;
	cgroup->id = id;
	cgroup->package = package;
	cgroup->start_ns = since;
	if (cgroup_of.insert(&key, &index) != 0) {
		cgroup->id = 0;
		free_cgroups.push(&index, 0);
		known = cgroup_of.lookup(&key);
		return known ? *known : package;
	}
	cgroup->taken = 1;
	return index;
}

/* Book the slice that the current task began at `since`; `shared` is the time its sibling was busy meanwhile. */
static __always_inline void book(struct cpu *cpu, u64 id, u64 since, u64 elapsed, u64 shared, u64 cycles, u64 misses,
				 u32 switched)
{
	u64 cgroup_id = current_cgroup_id();
	u32 index, cgroup_row, tgid = id >> 32;
	struct cgroup *cgroup;
	struct row *row;

	cpu->busy_ns += elapsed;
	/* The two clocks of a torn read may disagree by a slice: never above the slice. */
	if (shared > elapsed)
		shared = elapsed;
	elapsed -= shared;

	/* A dying task's number may have a new owner already: its last slice goes where its exit event said. */
	index = cpu->exiting == id ? cpu->exiting_row : cpu->recent[tgid & 7];
	row = rows.lookup(&index);
	if (cpu->exiting != id && (!row || row->tgid != tgid || row->package != cpu->package || row->flags & RETIRED)) {
		index = row_index(tgid, cpu->package, since);
		cpu->recent[tgid & 7] = index;
		row = rows.lookup(&index);
	}
	if (!row)
		return;
	if (row->flags) {
		u64 task = bpf_get_current_task();

		if (row->flags & LEADER_EXITED && (u32)id == tgid && !exited_leaders.lookup(&task)) {
			/* Not the old leader on its way out, but a new owner of its number. */
			retire(tgid, 0);
			index = row_index(tgid, cpu->package, since);
			cpu->recent[tgid & 7] = index;
			row = rows.lookup(&index);
			if (!row)
				return;
		} else if (row->flags & KERNEL_THREAD && row->switches < KERNEL_NAMING_SLICES) {
			/* A kernel thread is named by its maker, after it has begun to run. */
			bpf_get_current_comm(&row->comm, sizeof(row->comm));
		}
	}
	if (index < PACKAGES)
		count_overflow(0);
	/* Overflow rows are shared by everyone, so they remember no cgroup. */
	if (index < PACKAGES || row->cgroup_id != cgroup_id) {
		cgroup_row = cgroup_index(cgroup_id, cpu->package, row->flags & KERNEL_THREAD, since);
		if (index >= PACKAGES && cgroup_row >= PACKAGES) {
			row->cgroup_row = cgroup_row;
			row->cgroup_id = cgroup_id;
		}
	} else {
		cgroup_row = row->cgroup_row;
	}
	if (cgroup_row < PACKAGES)
		count_overflow(1);

	if (elapsed)
		__sync_fetch_and_add(&row->alone_ns, elapsed);
	if (shared)
		__sync_fetch_and_add(&row->shared_ns, shared);
	if (switched)
		__sync_fetch_and_add(&row->switches, 1);
#ifdef CYCLES
	__sync_fetch_and_add(&row->cycles, cycles);
#endif
#ifdef MISSES
	__sync_fetch_and_add(&row->misses, misses);
#endif

	cgroup = cgroups.lookup(&cgroup_row);
	if (!cgroup)
		return;
	if (elapsed)
		__sync_fetch_and_add(&cgroup->alone_ns, elapsed);
	if (shared)
		__sync_fetch_and_add(&cgroup->shared_ns, shared);
#ifdef CYCLES
	__sync_fetch_and_add(&cgroup->cycles, cycles);
#endif
#ifdef MISSES
	__sync_fetch_and_add(&cgroup->misses, misses);
#endif
}

/* End the open slice of this CPU and begin the next one. */
static __always_inline void end_slice(struct cpu *cpu, u32 switched)
{
	u64 now = bpf_ktime_get_ns(), since = cpu->since_ns, id = bpf_get_current_pid_tgid();
	u64 cycles = 0, misses = 0, shared = 0;
	u32 sibling_index = cpu->sibling;
	struct cpu *sibling;
#ifdef CYCLES
	struct bpf_perf_event_value cycle_count = {};

	if (cycle_counters.perf_counter_value(BPF_F_CURRENT_CPU, &cycle_count, sizeof(cycle_count)) == 0) {
		cycles = counted(&cycle_count, cpu->cycles_value, cpu->cycles_enabled, cpu->cycles_running);
		cpu->cycles_value = cycle_count.counter;
		cpu->cycles_enabled = cycle_count.enabled;
		cpu->cycles_running = cycle_count.running;
	}
#endif
#ifdef MISSES
	struct bpf_perf_event_value miss_count = {};

	if (miss_counters.perf_counter_value(BPF_F_CURRENT_CPU, &miss_count, sizeof(miss_count)) == 0) {
		misses = counted(&miss_count, cpu->misses_value, cpu->misses_enabled, cpu->misses_running);
		cpu->misses_value = miss_count.counter;
		cpu->misses_enabled = miss_count.enabled;
		cpu->misses_running = miss_count.running;
	}
#endif
	cpu->since_ns = now;
	sibling = cpus.lookup(&sibling_index);
	if (sibling && sibling != cpu) {
		u64 busy = busy_until(sibling, now);

		if (busy > cpu->sibling_busy_ns)
			shared = busy - cpu->sibling_busy_ns;
		cpu->sibling_busy_ns = busy;
	}
	if ((u32)id == 0) {
		/* pid 0: this CPU's idle task. The next switches will know it by its address. */
		cpu->idle_task = bpf_get_current_task();
		cpu->idle = 1;
	} else if (since && now > since) {
		book(cpu, id, since, now - since, shared, cycles, misses, switched);
	}
}

/* sched:sched_switch(bool preempt, struct task_struct *prev, struct task_struct *next, ...) */
int on_switch(struct bpf_raw_tracepoint_args *ctx)
{
	u32 number = bpf_get_smp_processor_id();
	struct cpu *cpu = cpus.lookup(&number);

	if (!cpu || !cpu->enabled)
		return 0;
	end_slice(cpu, 1);
	cpu->exiting = 0;
	cpu->idle = ctx->args[2] == cpu->idle_task;
	return 0;
}

/*
 * Run by user space on each busy CPU before it reads (BPF_PROG_TEST_RUN with BPF_F_TEST_RUN_ON_CPU, Linux kernel
 * commit 1b4d60ec162f, in v5.10): a task that never yields is accounted for all the same.
 */
int close_slice(struct bpf_raw_tracepoint_args *ctx)
{
	u32 number = bpf_get_smp_processor_id();
	struct cpu *cpu = cpus.lookup(&number);

	if (cpu && cpu->enabled)
		end_slice(cpu, 0);
	return 0;
}
