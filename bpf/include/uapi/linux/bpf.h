/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* bcc carries the kernel's UAPI bpf.h inside its library, under this virtual name. */
#include <bcc/bpf.h>
