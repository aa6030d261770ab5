/* SPDX-License-Identifier: BSD-3-Clause */
/* What the C programs of these tests share: memory, hashes, random numbers and tables. */
#ifndef C_PROGRAM_H
#define C_PROGRAM_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fm_kernels.h"

/* Alignment of the widest vector, for the scratch of kernels. */
#define ALIGNMENT 64
#define MAX_ALLOCATIONS 1000

static void *allocations[MAX_ALLOCATIONS];
static int n_allocations;

/* Zeroed, so that no hash sees an indeterminate byte; freed by release_all(). */
static inline void *take(ptrdiff_t count, ptrdiff_t size)
{
    const size_t bytes = ((size_t)(count * size) + ALIGNMENT) / ALIGNMENT * ALIGNMENT;
    void *memory = n_allocations < MAX_ALLOCATIONS ? aligned_alloc(ALIGNMENT, bytes) : NULL;
    if (!memory) {
        fprintf(stderr, "no memory for %zu bytes\n", bytes);
        exit(3);
    }
    allocations[n_allocations++] = memory;
    return memset(memory, 0, bytes);
}

/* Frees what was taken since n_allocations was `mark`. */
static inline void release_to(int mark)
{
    while (n_allocations > mark)
        free(allocations[--n_allocations]);
}

static inline void release_all(void)
{
    release_to(0);
}

#define TAKE(count, type) ((type *)take(count, (ptrdiff_t)sizeof(type)))

static inline uint64_t hash_bytes(uint64_t hash, const void *data, ptrdiff_t size)
{
    const unsigned char *byte = data;
    for (ptrdiff_t i = 0; i < size; i++)
        hash = (hash ^ byte[i]) * UINT64_C(0x100000001b3);
    return hash;
}

#define HASH_START UINT64_C(0xcbf29ce484222325)
#define HASH(hash, array, count) hash_bytes(hash, array, (count) * (ptrdiff_t)sizeof *(array))

/* Knuth's MMIX generator; its top 24 bits are a float exactly. */
static inline double uniform(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(*state >> 40) * 0x1p-24;
}

/* What a program does with every table that this processor runs, or with the one named; its exit
 * status. */
static inline int for_each_isa(const char *program, int argc, char **argv,
                               void (*run)(const fm_isa *))
{
    int count, ran = 0;
    const fm_isa *const *isas = fm_isas(&count);
    for (int i = 0; i < count; i++)
        if (fm_isa_supported(isas[i]) && (argc < 2 || !strcmp(argv[1], isas[i]->name))) {
            run(isas[i]);
            ran++;
        }
    if (!ran) {
        fprintf(stderr, "%s: no table %s runs here\n", program, argc < 2 ? "at all" : argv[1]);
        return 2;
    }
    return 0;
}

#endif
