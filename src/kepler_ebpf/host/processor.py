"""What processor this is, as far as /proc/cpuinfo tells, and its row in the table of power per hardware thread.

Family and model numbers: Linux ``arch/x86/include/asm/intel-family.h`` and AMD's Processor Programming References.
Virtual machines often show the host's numbers; those that show a made-up CPU name it after a microarchitecture.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .fs import HostFS, read_text

# By model of family 6: a row of specpower_watts_per_thread.csv.
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
# By family, and the first and last model of a range.
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
_VENDORS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD", "HygonGenuine": "Hygon"}
X86_VENDORS = ("Intel", "AMD", "Hygon", "CentaurHauls", "Shanghai")
# "CPU implementer" and "CPU part" of arm64 (Arm, MIDR_EL1; names as util-linux sys-utils/lscpu-arm.c has them).
_ARM_IMPLEMENTERS = {
    0x41: "ARM",
    0x42: "Broadcom",
    0x43: "Cavium",
    0x46: "FUJITSU",
    0x48: "HiSilicon",
    0x4E: "NVIDIA",
    0x50: "APM",
    0x51: "Qualcomm",
    0x53: "Samsung",
    0x56: "Marvell",
    0x61: "Apple",
    0x66: "Faraday",
    0x69: "Intel",
    0x6D: "Microsoft",
    0x70: "Phytium",
    0xC0: "Ampere",
}
_ARM_PARTS = {
    (0x41, 0xD01): "Cortex-A32",
    (0x41, 0xD02): "Cortex-A34",
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD06): "Cortex-A65",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD0D): "Cortex-A77",
    (0x41, 0xD0E): "Cortex-A76AE",
    (0x41, 0xD15): "Cortex-R82",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD42): "Cortex-A78AE",
    (0x41, 0xD43): "Cortex-A65AE",
    (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD46): "Cortex-A510",
    (0x41, 0xD47): "Cortex-A710",
    (0x41, 0xD48): "Cortex-X2",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4A): "Neoverse-E1",
    (0x41, 0xD4B): "Cortex-A78C",
    (0x41, 0xD4C): "Cortex-X1C",
    (0x41, 0xD4D): "Cortex-A715",
    (0x41, 0xD4E): "Cortex-X3",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD80): "Cortex-A520",
    (0x41, 0xD81): "Cortex-A720",
    (0x41, 0xD82): "Cortex-X4",
    (0x41, 0xD83): "Neoverse-V3AE",
    (0x41, 0xD84): "Neoverse-V3",
    (0x41, 0xD85): "Cortex-X925",
    (0x41, 0xD87): "Cortex-A725",
    (0x41, 0xD88): "Cortex-A520AE",
    (0x41, 0xD89): "Cortex-A720AE",
    (0x41, 0xD8A): "C1-Nano",
    (0x41, 0xD8B): "C1-Pro",
    (0x41, 0xD8C): "C1-Ultra",
    (0x41, 0xD8E): "Neoverse-N3",
    (0x41, 0xD8F): "Cortex-A320",
    (0x41, 0xD90): "C1-Premium",
    (0x42, 0x100): "Brahma-B53",
    (0x42, 0x516): "ThunderX2",
    (0x43, 0x0A0): "ThunderX",
    (0x43, 0x0A1): "ThunderX-88XX",
    (0x43, 0x0A2): "ThunderX-81XX",
    (0x43, 0x0A3): "ThunderX-83XX",
    (0x43, 0x0AF): "ThunderX2-99xx",
    (0x43, 0x0B0): "OcteonTX2",
    (0x43, 0x0B1): "OcteonTX2-98XX",
    (0x43, 0x0B2): "OcteonTX2-96XX",
    (0x43, 0x0B3): "OcteonTX2-95XX",
    (0x43, 0x0B8): "ThunderX3-T110",
    (0x46, 0x001): "A64FX",
    (0x46, 0x003): "MONAKA",
    (0x48, 0xD01): "TaiShan-v110",
    (0x48, 0xD02): "TaiShan-v120",
    (0x48, 0xD40): "Cortex-A76",
    (0x48, 0xD41): "Cortex-A77",
    (0x4E, 0x000): "Denver",
    (0x4E, 0x003): "Denver 2",
    (0x4E, 0x004): "Carmel",
    (0x4E, 0x010): "Olympus",
    (0x50, 0x000): "X-Gene",
    (0x51, 0x001): "Oryon 1",
    (0x51, 0x002): "Oryon 2",
    (0x51, 0x201): "Kryo",
    (0x51, 0x205): "Kryo",
    (0x51, 0x211): "Kryo",
    (0x51, 0x800): "Falkor-V1/Kryo",
    (0x51, 0x801): "Kryo-V2",
    (0x51, 0x802): "Kryo-3XX-Gold",
    (0x51, 0x803): "Kryo-3XX-Silver",
    (0x51, 0x804): "Kryo-4XX-Gold",
    (0x51, 0x805): "Kryo-4XX-Silver",
    (0x51, 0xC00): "Falkor",
    (0x51, 0xC01): "Saphira",
    (0x53, 0x001): "exynos-m1",
    (0x53, 0x002): "exynos-m3",
    (0x53, 0x003): "exynos-m4",
    (0x53, 0x004): "exynos-m5",
    (0x61, 0x022): "Icestorm-M1",
    (0x61, 0x023): "Firestorm-M1",
    (0x61, 0x024): "Icestorm-M1-Pro",
    (0x61, 0x025): "Firestorm-M1-Pro",
    (0x61, 0x028): "Icestorm-M1-Max",
    (0x61, 0x029): "Firestorm-M1-Max",
    (0x61, 0x032): "Blizzard-M2",
    (0x61, 0x033): "Avalanche-M2",
    (0x61, 0x034): "Blizzard-M2-Pro",
    (0x61, 0x035): "Avalanche-M2-Pro",
    (0x61, 0x038): "Blizzard-M2-Max",
    (0x61, 0x039): "Avalanche-M2-Max",
    (0x6D, 0xD49): "Azure-Cobalt-100",
    (0x70, 0x303): "FTC310",
    (0x70, 0x660): "FTC660",
    (0x70, 0x661): "FTC661",
    (0x70, 0x662): "FTC662",
    (0x70, 0x663): "FTC663",
    (0x70, 0x664): "FTC664",
    (0x70, 0x862): "FTC862",
    (0xC0, 0xAC3): "Ampere-1",
    (0xC0, 0xAC4): "Ampere-1a",
    (0xC0, 0xAC5): "Ampere-1b",
}
# RISC-V's mvendorid (JEDEC) as far as machines in racks have one.
_RISCV_VENDORS = {"0x489": "SiFive", "0x5b7": "T-Head", "0x710": "SpacemiT", "0x31e": "Andes"}


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
    vendor, name = _named(fields)
    return Processor(vendor, name, _microarchitecture(vendor, name, fields))


def _named(fields: Mapping[str, str]) -> tuple[str, str]:
    """Vendor and model, as lscpu(1) names them."""
    if "CPU implementer" in fields:
        implementer, part = (_number(fields.get(key, "")) for key in ("CPU implementer", "CPU part"))
        vendor = _ARM_IMPLEMENTERS.get(implementer, fields["CPU implementer"])
        # Some kernels' "model name" is the architecture alone: "ARMv8 Processor rev 3 (v8l)".
        return vendor, _ARM_PARTS.get((implementer, part)) or fields.get("model name") or fields.get("CPU part", "")
    # POWER: "POWER9 (raw), altivec supported". Its "platform" stands behind all CPUs, too far down to be read.
    if "cpu" in fields and ("(pvr" in fields.get("revision", "") or "platform" in fields):
        return "IBM", fields["cpu"].partition(",")[0]
    if fields.get("vendor_id", "").startswith("IBM/S390"):
        machine = re.search(r"machine = (\w+)", fields.get("processor 0", ""))
        return "IBM/S390", machine[1] if machine else ""
    if "isa" in fields and "hart" in fields:  # RISC-V
        vendor = _RISCV_VENDORS.get(fields.get("mvendorid", ""), fields.get("mvendorid", ""))
        return vendor, fields.get("uarch", fields.get("marchid", ""))
    if "CPU Family" in fields:  # LoongArch: "Loongson-64bit", and "Loongson-3A6000"
        return "Loongson", fields.get("Model Name", fields["CPU Family"])
    vendor = fields.get("vendor_id", fields.get("vendor", ""))
    # "cpu model" and "cpu": MIPS, SPARC.
    names = (fields[key] for key in ("model name", "Model", "cpu model", "cpu") if key in fields)
    return _VENDORS.get(vendor, vendor), next(names, "")


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        return -1


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


def is_x86(fs: HostFS) -> bool:
    """Whether this is an x86 processor: only there the kernel has RAPL."""
    return read_processor(fs).vendor in X86_VENDORS
