"""What Linux tells of this machine: file systems, CPUs, hierarchies of cgroups, system calls."""
