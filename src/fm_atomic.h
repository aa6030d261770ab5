/* SPDX-License-Identifier: BSD-3-Clause */
/* Counters that threads share. */
#ifndef FM_ATOMIC_H
#define FM_ATOMIC_H

#if defined(__GNUC__)
#define fm_add_to(total, value) ((void)__atomic_fetch_add(total, value, __ATOMIC_RELAXED))
#else
#define fm_add_to(total, value) (*(total) += (value))
#endif

#endif
