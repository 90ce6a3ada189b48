/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Classic BPF opcodes: included by the UAPI bpf.h, used by none of our programs. */
