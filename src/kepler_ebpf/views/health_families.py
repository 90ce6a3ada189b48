"""Families of the collector itself."""

from __future__ import annotations

from .. import __version__
from ..snapshot.types import Snapshot
from .family import NONE, Family, Samples, alone, in_pairs, keyed, paired


def _durations(snapshot: Snapshot) -> Samples:
    loop = snapshot.health.loop
    if not loop.duration_buckets:
        return NONE
    buckets = [*loop.duration_buckets, ("", loop.duration_sum_seconds)]
    return in_pairs(((bound,), count) for bound, count in buckets)


FAMILIES = (
    Family(
        "kepler_ebpf_build_info",
        "gauge",
        "ourselves",
        ("version",),
        "Version of the collector.",
        lambda _: Samples(((__version__,),), (1.0,)),
    ),
    Family("kepler_ebpf_samples", "counter", "ourselves", (), "Samples taken.", alone(lambda s: s.health.loop.samples)),
    Family(
        "kepler_ebpf_late_samples",
        "counter",
        "ourselves",
        (),
        "Samples left out because the one before took too long.",
        alone(lambda s: s.health.loop.late_samples),
    ),
    Family(
        "kepler_ebpf_failed_samples",
        "counter",
        "ourselves",
        (),
        "Samples that failed by a fault of ours.",
        alone(lambda s: s.health.loop.failed_samples),
        "the next one that does not fail covers its time and energy",
    ),
    Family(
        "kepler_ebpf_sample_interval_seconds",
        "gauge",
        "ourselves",
        (),
        "Time between samples now.",
        alone(lambda s: s.health.loop.interval_seconds),
    ),
    Family(
        "kepler_ebpf_configured_sample_interval_seconds",
        "gauge",
        "ourselves",
        (),
        "Time between samples as configured: the effective one is longer where samples cost more than the CPU budget.",
        alone(lambda s: s.health.loop.configured_interval_seconds),
    ),
    Family("kepler_ebpf_sample_seconds", "histogram", "ourselves", (), "Time that one sample took.", _durations),
    Family(
        "kepler_ebpf_rows_used",
        "gauge",
        "ourselves",
        ("table",),
        "Rows in use of a kernel table.",
        keyed(lambda s: s.health.rows_used),
    ),
    Family(
        "kepler_ebpf_rows_capacity",
        "gauge",
        "ourselves",
        ("table",),
        "Rows of a kernel table.",
        keyed(lambda s: s.health.rows_capacity),
    ),
    Family(
        "kepler_ebpf_overflow_slices",
        "counter",
        "ourselves",
        ("table",),
        "Slices booked to a table's overflow row because no row was free.",
        keyed(lambda s: s.health.overflow_slices),
    ),
    Family(
        "kepler_ebpf_books_gap_ratio",
        "gauge",
        "ourselves",
        ("level",),
        "How far a level's books are from closing.",
        keyed(lambda s: s.health.gap_ratio),
    ),
    Family(
        "kepler_ebpf_books_gap_exceeded",
        "counter",
        "ourselves",
        ("level",),
        "Samples in which a level's books were off by more than 1e-6.",
        keyed(lambda s: s.health.gap_exceeded),
    ),
    Family(
        "kepler_ebpf_program_seconds",
        "counter",
        "ourselves",
        ("program",),
        "CPU time of our BPF programs; there only while kernel.bpf_stats_enabled is 1.",
        keyed(lambda s: s.health.program_seconds),
    ),
    Family(
        "kepler_ebpf_program_runs",
        "counter",
        "ourselves",
        ("program",),
        "Runs of our BPF programs; there only while kernel.bpf_stats_enabled is 1.",
        keyed(lambda s: s.health.program_runs),
    ),
    Family(
        "kepler_ebpf_source_errors",
        "counter",
        "ourselves",
        ("source", "reason"),
        "Readings that an energy source could not give.",
        paired(lambda s: s.health.source_errors),
    ),
    Family(
        "kepler_ebpf_name_errors",
        "counter",
        "ourselves",
        ("provider", "reason"),
        "Look-ups of names that failed.",
        paired(lambda s: s.health.name_errors),
    ),
    Family(
        "kepler_ebpf_loader_seconds",
        "gauge",
        "ourselves",
        (),
        "Time the BPF loader took at start.",
        alone(lambda s: s.health.loader_seconds),
    ),
    Family(
        "kepler_ebpf_loader_peak_bytes",
        "gauge",
        "ourselves",
        (),
        "Most memory the BPF loader used.",
        alone(lambda s: s.health.loader_peak_bytes),
    ),
)
