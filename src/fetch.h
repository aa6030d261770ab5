/* SPDX-License-Identifier: BSD-3-Clause */
/* Fetching memory that a later call will read, a few lines at a time between the computations: the
 * processor has buffers for some twenty lines on their way, and all at once would wait for them.
 * Seconds of an E-step, 2 threads, Zen 4: 10M x 2, K=8: 10.4 -> 5.4 ms (with the labels fetched as
 * well), 2M x 16, K=64: 26.2 -> 22.9, 1M x 32, K=256: 80.7 -> 77.3.
 */
#ifndef FM_FETCH_H
#define FM_FETCH_H

#include "fm_kernels.h"

typedef struct {
    const char *at, *end;
    ptrdiff_t step;
} fetch;

static inline fetch start_fetch(fm_memory next, ptrdiff_t steps)
{
    const ptrdiff_t lines = (next.bytes + 63) / 64;
    return (fetch){next.start, next.start + next.bytes, (lines + steps - 1) / steps * 64};
}

static inline void fetch_some(fetch *next)
{
    const char *stop = next->end - next->at < next->step ? next->end : next->at + next->step;
    for (; next->at < stop; next->at += 64)
        __builtin_prefetch(next->at, 0, 2);
}

/* Fetches so many bytes of a row, which may begin anywhere in a line, into the second-level cache, to
 * which more lines can be on their way than to the first. */
static inline void fetch_row(const char *row, ptrdiff_t bytes)
{
    for (ptrdiff_t at = 0; at < bytes; at += 64)
        __builtin_prefetch(row + at, 0, 2);
    __builtin_prefetch(row + bytes - 1, 0, 2);
}

#endif
