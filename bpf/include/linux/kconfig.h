/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Forced in by bcc before every source: the only configuration symbol its helpers.h asks for. */
#define CONFIG_BPF_SYSCALL 1
