"""What the sensors of known chips measure, by the chip's name and the sensor's label."""

from __future__ import annotations

from dataclasses import dataclass

from ..columns import Component


@dataclass(frozen=True)
class Rule:
    """A sensor, by regular expressions on chip ``name`` and ``label``; group 1 of ``label``, if any, is the socket.

    ``by_node``: or the NUMA node, where there are more of them than sockets: then each shows its socket's.
    """

    chip: str
    label: str
    component: Component
    by_node: bool = False


def _worded(words: str, but: str) -> str:
    """A label that has one of these words, none of those others, and a socket's number."""
    return rf"(?i)(?!.*(?:{but}))(?=.*(?<![a-z])(?:{words})(?![a-z])).*?socket[^0-9]*([0-9]+).*"


_NO_PACKAGE = "dram|memory|module|superchip|hopper|blackwell|sysio|gpu"
RULES = (
    # Documentation/hwmon/amd_energy.rst: Ecore* and Esocket*; sockets contain their cores. The driver takes each NUMA
    # node for a socket (num_possible_nodes in drivers/hwmon/amd_energy.c): EPYC can be set to four of them a socket.
    Rule(r"amd_energy", r"Esocket(\d+)", "package", by_node=True),
    # AMD before Zen, whose processors have no RAPL (Documentation/hwmon/fam15h_power.rst): a chip a socket, no label.
    Rule(r"fam15h_power", r"", "package"),
    # NVIDIA Grace through the ACPI power meter, in whatever order firmware words it. Its totals contain "CPU Power
    # Socket 0" and "SysIO Power Socket 0"; a module's, or superchip's, contains the GPU, which NVML tells.
    Rule(r"power_meter.*", _worded("dram|memory", but="gpu|hbm"), "dram"),
    Rule(r"power_meter.*", _worded("grace|total", but=f"{_NO_PACKAGE}|cpu"), "package"),
    Rule(r"power_meter.*", _worded("grace|total", but=_NO_PACKAGE), "package"),  # where there is none but the CPUs'
    # IBM POWER9 and 10 without a hypervisor (Documentation/hwmon/ibmpowernv.rst): the chip, by the kernel's id of its
    # package, beside its regulators ("Chip 8 Vdd") and the whole machine ("System").
    Rule(r"ibmpowernv", r"Chip (\d+)", "package"),
    # APM X-Gene (Documentation/hwmon/xgene-hwmon.rst).
    Rule(r"apm_xgene", r"CPU power", "package"),
    # Ampere Altra's SMpro (Documentation/hwmon/smpro-hwmon.rst): socket power, and that of its DIMMs. The driver in
    # mainline (v6.2, drivers/hwmon/smpro-hwmon.c) tells regulators, which are added up.
    Rule(r"smpro", r"CPU power", "package"),
    Rule(r"smpro", r"DIMM power", "dram"),
    Rule(r"smpro(?:_hwmon)?", r"(?i)(?:power[0-9]+ )?(?:core|soc|rca)(?: vrd)?(?: power)?", "package"),
    Rule(r"smpro(?:_hwmon)?", r"(?i)(?:power[0-9]+ )?dimm vrd ?[0-9]*(?: power)?", "dram"),
)
