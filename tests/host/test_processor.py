"""Vendor and model of processors, as lscpu(1) names them, by what their kernels write into /proc/cpuinfo."""

from __future__ import annotations

from pathlib import Path

import pytest

from kepler_ebpf.host.fs import HostFS
from kepler_ebpf.host.processor import read_processor


def arm(implementer: int, part: int, name: str = "") -> str:
    line = f"model name\t: {name}\n" if name else ""
    return f"processor\t: 0\n{line}CPU implementer\t: {implementer:#x}\nCPU part\t: {part:#x}\nCPU revision\t: 0\n"


PROCESSORS = [
    (arm(0x41, 0xD0C), "ARM", "Neoverse-N1"),
    (arm(0x41, 0xD08, "ARMv7 Processor rev 3 (v7l)"), "ARM", "Cortex-A72"),  # the architecture is no model
    (arm(0x70, 0x662, "Phytium,FT-2000+/64"), "Phytium", "FTC662"),
    (arm(0x70, 0x1, "Phytium,S5000C"), "Phytium", "Phytium,S5000C"),
    (arm(0x70, 0x862, "Phytium,S5000C/64"), "Phytium", "FTC862"),
    (arm(0x51, 0x1), "Qualcomm", "Oryon 1"),
    (arm(0x51, 0x805), "Qualcomm", "Kryo-4XX-Silver"),
    (arm(0x43, 0xA0), "Cavium", "ThunderX"),
    (arm(0x48, 0xD40), "HiSilicon", "Cortex-A76"),
    (arm(0x46, 0x1), "FUJITSU", "A64FX"),
    (arm(0x61, 0x32), "Apple", "Blizzard-M2"),
    (arm(0x61, 0x34), "Apple", "Blizzard-M2-Pro"),
    (arm(0x99, 0x123), "0x99", "0x123"),
    (
        "processor\t: 0\nhart\t\t: 2\nisa\t\t: rv64imafdc\nuarch\t\t: thead,c920\nmvendorid\t: 0x5b7\n",
        "T-Head",
        "thead,c920",
    ),
    ("processor\t: 0\ncpu\t\t: POWER9, altivec supported\n\nplatform\t: PowerNV\n", "IBM", "POWER9"),
    (
        "".join(
            f"processor\t: {cpu}\ncpu\t\t: POWER10 (architected), altivec supported\nclock\t\t: 3450.000000MHz\n"
            "revision\t: 2.0 (pvr 0080 0200)\n\n"
            for cpu in range(192)
        )
        + "timebase\t: 512000000\nplatform\t: pSeries\n",
        "IBM",
        "POWER10 (architected)",
    ),
    ("vendor_id       : IBM/S390\nprocessor 0: version = FF,  machine = 2964\n", "IBM/S390", "2964"),
    ("CPU Family\t\t: Loongson-64bit\nModel Name\t\t: Loongson-3A6000\n", "Loongson", "Loongson-3A6000"),
    ("system type\t: Loongson-3A\ncpu model\t: Loongson-3A R4 V0.1\n", "", "Loongson-3A R4 V0.1"),
    ("cpu\t\t: SPARC-M7\ntype\t\t: sun4v\n", "", "SPARC-M7"),
    ("vendor     : GenuineIntel\nmodel name : Itanium 9040\n", "Intel", "Itanium 9040"),
    ("vendor_id\t:   Shanghai  \nmodel name\t: ZHAOXIN KX-6640MA\n", "Shanghai", "ZHAOXIN KX-6640MA"),
    ("\x00:::\n:\n", "", ""),
    ("", "", ""),
]


@pytest.mark.parametrize(("text", "vendor", "name"), PROCESSORS)
def test_a_processor_goes_by_the_names_that_lscpu_gives(tmp_path: Path, text: str, vendor: str, name: str) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    processor = read_processor(HostFS(proc=tmp_path))
    assert (processor.vendor, processor.name) == (vendor, name)


def test_without_the_file_nothing_is_known(tmp_path: Path) -> None:
    processor = read_processor(HostFS(proc=tmp_path))
    assert (processor.vendor, processor.name, processor.microarchitecture) == ("", "", "")
