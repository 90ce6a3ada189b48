/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * bcc's helpers.h asks once whether some helpers may exist (since 4.8, far below anything we run on).
 * We detect features by trying them, so the version named here is only a floor that compiles them in.
 */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#ifndef LINUX_VERSION_CODE
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 10, 0)
#endif
