/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* Included by bcc's helpers.h; nothing of it is used here. */
