/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Slices: from the moment a task is switched in to the moment it is switched out. Every slice is booked to its process's
 * row and its cgroup's row. A slice that is still open is added by user space, which sees in the CPU's row since when it
 * runs and whose it is: no CPU is ever asked to close one. */

/* How much a counter has counted since `at`, which is moved on; scaled up where it had to share the hardware. */
static __always_inline u64 counted(struct bpf_perf_event_value *now, u64 *at)
{
	u64 count = now->counter - at[0], enabled = now->enabled - at[1], running = now->running - at[2];

	at[0] = now->counter;
	at[1] = now->enabled;
	at[2] = now->running;
	if (running >= enabled)
		return count;
	/* perf_event_open(2): count * enabled / running; in µs, so that a minute's slice cannot overflow. */
	running >>= 10;
	return running ? count * (enabled >> 10) / running : 0;
}

static __always_inline void read_counters(struct cpu *cpu, struct use *slice, u64 ran)
{
#ifdef CYCLES
	struct bpf_perf_event_value cycles = {};
	u64 enabled = cpu->cycles_at[1];
	long failed = cycle_counters.perf_counter_value(BPF_F_CURRENT_CPU, &cycles, sizeof(cycles));

	if (!failed)
		slice->cycles = counted(&cycles, cpu->cycles_at);
	/* A CPU that was taken off and on again, or came later, may have no counter: what it does is not for free. */
	if (failed || enabled == cycles.enabled)
		slice->cycles = ran * cpu->cycles_per_us / 1000;
#endif
#ifdef MISSES
	struct bpf_perf_event_value misses = {};

	if (miss_counters.perf_counter_value(BPF_F_CURRENT_CPU, &misses, sizeof(misses)) == 0)
		slice->misses = counted(&misses, cpu->misses_at);
#endif
#ifdef INSTRUCTIONS
	struct bpf_perf_event_value instructions = {};

	if (instruction_counters.perf_counter_value(BPF_F_CURRENT_CPU, &instructions, sizeof(instructions)) == 0)
		slice->instructions = counted(&instructions, cpu->instructions_at);
#endif
}

/* How long the sibling was busy since the slice began, by the wall clock. */
static __always_inline u64 overlap(struct cpu *cpu, u64 now)
{
	u32 number = cpu->sibling;
	struct cpu *sibling = cpus.lookup(&number);
	u64 busy, since, before = cpu->sibling_busy_ns;

	if (!sibling || sibling == cpu)
		return 0;
	busy = sibling->busy_ns;
	since = sibling->since_ns;
	if (sibling->task && since && now > since)
		busy += now - since;
	cpu->sibling_busy_ns = busy;
	return busy > before ? busy - before : 0;
}

static __always_inline void add(struct use *use, struct use *slice)
{
	if (slice->alone_ns)
		__sync_fetch_and_add(&use->alone_ns, slice->alone_ns);
	if (slice->shared_ns)
		__sync_fetch_and_add(&use->shared_ns, slice->shared_ns);
#ifdef CYCLES
	__sync_fetch_and_add(&use->cycles, slice->cycles);
#endif
#ifdef MISSES
	__sync_fetch_and_add(&use->misses, slice->misses);
#endif
#ifdef INSTRUCTIONS
	__sync_fetch_and_add(&use->instructions, slice->instructions);
#endif
}

/* Leave `part` ns of what happened during a slice, and as much of all else. In µs, so that no product overflows. */
static __always_inline void cut(struct use *slice, u64 part)
{
	u64 *left = &slice->shared_ns, whole = (slice->alone_ns + slice->shared_ns) >> 10 | 1;
	int figure;

#pragma unroll
	for (figure = 0; figure < 4; figure++) /* the others of struct use */
		left[figure] = left[figure] / whole * (part >> 10) + left[figure] % whole * (part >> 10) / whole;
	slice->alone_ns = part > slice->shared_ns ? part - slice->shared_ns : 0;
}

static __always_inline void book(struct cpu *cpu, u64 task, struct use *slice, u64 ran)
{
	u32 position = cpu->use, row;
	struct use *use = process_uses.lookup(&position);

	if (use && position >= PACKAGES && use->tgid != half_at(task + TASK_TGID)) {
		/* Its process ended long ago, and user space has recycled the row since. */
		position = cpu->package;
		use = process_uses.lookup(&position);
	}
	if (!use)
		return;
	row = cgroup_row(task, use, position);
	add(use, slice);
	if (position < PACKAGES)
		COUNT(row_overflow_slices);
	if (row == OVERFLOW_ROW)
		COUNT(cgroup_overflow_slices);
	if (cpu->left_ns)
		cut(slice, ran > cpu->left_ns ? ran - cpu->left_ns : 0);
	position = row * PACKAGES + cpu->package;
	use = cgroup_uses.lookup(&position);
	if (use)
		add(use, slice);
}

static __always_inline void end_slice(struct cpu *cpu, u64 task, u64 now)
{
	struct use slice = {};
	u64 ran = 0, shared = overlap(cpu, now);
	u32 row = cpu->use / PACKAGES;
	struct process *process;

	if (cpu->task)
		ran = ran_ns(task) - cpu->ran_ns;
	read_counters(cpu, &slice, ran);
	if (!cpu->task)
		return;
	slice.shared_ns = shared < ran ? shared : ran;
	slice.alone_ns = ran - slice.shared_ns;
	cpu->busy_ns += ran;
	book(cpu, task, &slice, ran);
	if (is_dead(task) && is_last(task) && row != OVERFLOW_ROW) {
		process = processes.lookup(&row);
		if (process && process->tgid == half_at(task + TASK_TGID)) {
			copy_comm(process, task);
			mark_dead(process);
			forget(process->tgid);
		}
	}
}

static __always_inline void begin_slice(struct cpu *cpu, u64 task, u64 now, u32 position)
{
	struct use *use = process_uses.lookup(&position);

	if (half_at(task + TASK_PID) == 0) {
		cpu->task = 0;
	} else {
		cpu->use = position;
		if (use)
			cpu->cgroup_use = cgroup_row(task, use, position) * PACKAGES + cpu->package;
		cpu->ran_ns = ran_ns(task);
		cpu->left_ns = 0;
		cpu->task = task;
	}
	*(volatile u64 *)&cpu->since_ns = now;
}

/* Whether another task runs than the one whose switch-in was seen last. */
static __always_inline int mistaken(struct cpu *cpu, u64 task)
{
	return cpu->task != task && (cpu->task || half_at(task + TASK_PID));
}

/* Some switches are not told: on some virtual machines (measured on Linux 6.18), those that happen in the address space
 * of a process that is older than the tracepoint's first user, as if the kernel's own code were an older copy there.
 * The fair scheduler remembers what a task had run when it was picked (set_next_entity() in kernel/sched/fair.c). */
static __always_inline void recover_slice(struct cpu *cpu, u64 task, u64 now)
{
	u64 ran, since = cpu->since_ns, most = since && now > since ? now - since : 0;

	*(volatile u64 *)&cpu->since_ns = 0;
	begin_slice(cpu, task, since ? since : now, find_use(task, cpu->package));
	ran = cpu->ran_ns - word_at(task + TASK_SE + SE_PREV_SUM_EXEC_RUNTIME);
	cpu->ran_ns -= ran < most ? ran : most;
}

static __always_inline struct cpu *this_cpu(void)
{
	u32 number = bpf_get_smp_processor_id();
	struct cpu *cpu = cpus.lookup(&number);

	return cpu && cpu->enabled ? cpu : NULL;
}

/* sched:sched_switch(bool preempt, struct task_struct *prev, struct task_struct *next, ...) */
int on_switch(struct bpf_raw_tracepoint_args *ctx)
{
	u64 prev = ctx->args[1], next = ctx->args[2], now = bpf_ktime_get_ns();
	struct cpu *cpu = this_cpu();
	u32 position;

	if (!cpu)
		return 0;
	/* First of all: its cache misses are under way while the other slice is booked. */
	position = find_use(next, cpu->package);
	if (mistaken(cpu, prev))
		recover_slice(cpu, prev, now);
	*(volatile u64 *)&cpu->since_ns = 0;
	end_slice(cpu, prev, now);
	begin_slice(cpu, next, now, position);
	return 0;
}

/* Run on a CPU of which user space does not know what runs there (BPF_PROG_TEST_RUN with BPF_F_TEST_RUN_ON_CPU, Linux
 * kernel commit 1b4d60ec162f, in v5.10): at the start, and where a kernel thread seems to run for long, as a switch away
 * from it may not have been told. The helper came with commit 3ca1032ab7ab (in v5.11). */
static u64 (*current_task)(void) = (void *)158; /* BPF_FUNC_get_current_task_btf */

int open_slice(struct bpf_raw_tracepoint_args *ctx)
{
	u64 task = current_task(), now = bpf_ktime_get_ns(), since;
	struct cpu *cpu = this_cpu();
	struct use unused = {};

	if (!cpu)
		return 0;
	since = cpu->since_ns;
	if (!since)
		read_counters(cpu, &unused, 0);
	if (!since || mistaken(cpu, task))
		recover_slice(cpu, task, now);
	return 0;
}
