"""What processor this is, as far as /proc/cpuinfo tells, and its row in the table of power per hardware thread.

Family and model numbers: Linux ``arch/x86/include/asm/intel-family.h`` and AMD's Processor Programming References.
Virtual machines often show the host's numbers; those that show a made-up CPU name it after a microarchitecture.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .fs import HostFS, read_text

# (vendor, family) → model → row of specpower_watts_per_thread.csv; ranges end inclusively.
_INTEL_MODELS = {
    0x2A: "Sandy Bridge",
    0x2D: "Sandy Bridge",
    0x3A: "Ivy Bridge",
    0x3E: "Ivy Bridge",
    0x3C: "Haswell",
    0x3F: "Haswell",
    0x45: "Haswell",
    0x46: "Haswell",
    0x3D: "Broadwell",
    0x47: "Broadwell",
    0x4F: "Broadwell",
    0x56: "Broadwell",
    0x55: "Skylake-SP",  # Cascade Lake from stepping 5, Cooper Lake from stepping 10
    0x8E: "Coffee Lake",
    0x9E: "Coffee Lake",
    0x6A: "Ice Lake",
    0x6C: "Ice Lake",
    0x8F: "Sapphire Rapids",
    0xCF: "Emerald Rapids",
    0xAD: "Granite Rapids",
    0xAE: "Granite Rapids",
}
_AMD_MODELS = (
    (0x17, 0x00, 0x2F, "EPYC 1 (Naples)"),
    (0x17, 0x30, 0xFF, "EPYC 2 (Rome)"),
    (0x19, 0x00, 0x0F, "EPYC 3 (Milan)"),
    (0x19, 0x10, 0x1F, "EPYC 4 (Genoa)"),
    (0x19, 0xA0, 0xAF, "EPYC 4 (Genoa)"),
    (0x1A, 0x00, 0x1F, "EPYC 5 (Turin)"),
)
# Names that hypervisors give (QEMU target/i386/cpu.c), most specific first.
_NAMES = (
    ("Naples|EPYC-v|EPYC \\(with IBPB\\)", "EPYC 1 (Naples)"),
    ("Rome", "EPYC 2 (Rome)"),
    ("Milan", "EPYC 3 (Milan)"),
    ("Genoa", "EPYC 4 (Genoa)"),
    ("Turin", "EPYC 5 (Turin)"),
    ("Granite ?Rapids", "Granite Rapids"),
    ("Emerald ?Rapids", "Emerald Rapids"),
    ("Sapphire ?Rapids", "Sapphire Rapids"),
    ("Ice ?lake", "Ice Lake"),
    ("Cascade ?lake", "Cascade Lake"),
    ("Skylake", "Skylake-SP"),
    ("Broadwell", "Broadwell"),
    ("Haswell", "Haswell"),
    ("Ivy ?Bridge|Xeon E3-12xx v2", "Ivy Bridge"),
    ("Sandy ?Bridge|Xeon E312xx", "Sandy Bridge"),
)
_VENDORS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD"}


@dataclass(frozen=True)
class Processor:
    """``vendor``: ``Intel``, ``AMD`` or what the kernel says; ``microarchitecture``: a row of the table, or empty."""

    vendor: str
    name: str
    microarchitecture: str


def read_processor(fs: HostFS) -> Processor:
    """The first CPU of ``/proc/cpuinfo``; all empty where it cannot be read."""
    fields: dict[str, str] = {}
    try:
        for line in read_text(fs.proc / "cpuinfo", 16384).splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    except OSError:
        pass
    vendor_id = fields.get("vendor_id", fields.get("CPU implementer", ""))
    name = fields.get("model name", fields.get("Model", ""))
    vendor = _VENDORS.get(vendor_id, vendor_id)
    return Processor(vendor, name, _microarchitecture(vendor, name, fields))


def _microarchitecture(vendor: str, name: str, fields: dict[str, str]) -> str:
    for pattern, row in _NAMES:
        if re.search(pattern, name, re.IGNORECASE):
            return row
    try:
        family, model, stepping = (int(fields.get(key, "")) for key in ("cpu family", "model", "stepping"))
    except ValueError:
        return ""
    if vendor == "AMD":
        for of_family, first, last, row in _AMD_MODELS:
            if family == of_family and first <= model <= last:
                return row
    if vendor == "Intel" and family == 6:
        if model == 0x55 and stepping >= 5:
            return "Cascade Lake"
        return _INTEL_MODELS.get(model, "")
    return ""


def is_virtual(fs: HostFS) -> bool:
    """Whether this is a virtual machine that says so: the flag ``hypervisor`` (CPUID leaf 1, ECX bit 31)."""
    try:
        text = read_text(fs.proc / "cpuinfo")
    except OSError:
        return False
    return bool(re.search(r"^flags\s*:.*\bhypervisor\b", text, re.MULTILINE))
