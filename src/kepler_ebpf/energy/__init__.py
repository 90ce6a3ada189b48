"""Energy sources: one file each behind the protocol of :mod:`kepler_ebpf.energy.source`."""
