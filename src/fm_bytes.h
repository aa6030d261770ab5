/* SPDX-License-Identifier: BSD-3-Clause */
/* Vectors of sixteen rows, and the sums of products of bytes. */
#ifndef FM_BYTES_H
#define FM_BYTES_H

#include <stdint.h>

typedef int32_t fm_short_counts __attribute__((vector_size(64), aligned(4), may_alias));
typedef int8_t fm_short_bytes __attribute__((vector_size(16)));
typedef float fm_short_floats __attribute__((vector_size(64), aligned(4), may_alias));

/* acc + the products of four unsigned bytes of a row with four signed bytes of a centre. */
static inline __attribute__((always_inline)) fm_short_counts fm_short_add(fm_short_counts acc,
                                                                          fm_short_counts row,
                                                                          fm_short_counts center)
{
#ifdef __AVX512VNNI__
    return (fm_short_counts)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)row, (__m512i)center);
#else
    for (int i = 0; i < 4; i++)
        acc += ((row >> (8 * i)) & 255) * (center << (24 - 8 * i) >> 24);
    return acc;
#endif
}

/* acc + the products of two numbers of 16 bits with two. */
static inline __attribute__((always_inline)) fm_short_counts
fm_short_add_pairs(fm_short_counts acc, fm_short_counts row, fm_short_counts center)
{
#ifdef __AVX512VNNI__
    return (fm_short_counts)_mm512_dpwssd_epi32((__m512i)acc, (__m512i)row, (__m512i)center);
#else
    return acc + (row >> 16) * (center >> 16) + (row << 16 >> 16) * (center << 16 >> 16);
#endif
}

/* The products of two numbers of 16 bits with two, added up. */
static inline __attribute__((always_inline)) fm_short_counts fm_short_pairs(fm_short_counts row,
                                                                            fm_short_counts center)
{
#ifdef __AVX512BW__
    return (fm_short_counts)_mm512_madd_epi16((__m512i)row, (__m512i)center);
#else
    return fm_short_add_pairs((fm_short_counts){0}, row, center);
#endif
}

static inline __attribute__((always_inline)) fm_short_floats fm_short_max(fm_short_floats a,
                                                                          fm_short_floats b)
{
#ifdef __AVX512F__
    return (fm_short_floats)_mm512_max_ps((__m512)a, (__m512)b);
#else
    const fm_short_counts mask = a > b;
    return (fm_short_floats)((mask & (fm_short_counts)a) | (~mask & (fm_short_counts)b));
#endif
}

static inline __attribute__((always_inline)) fm_short_floats fm_short_min(fm_short_floats a,
                                                                          fm_short_floats b)
{
#ifdef __AVX512F__
    return (fm_short_floats)_mm512_min_ps((__m512)a, (__m512)b);
#else
    const fm_short_counts mask = a < b;
    return (fm_short_floats)((mask & (fm_short_counts)a) | (~mask & (fm_short_counts)b));
#endif
}

/* Bit l: whether lane l of a is at least that of b. */
static inline __attribute__((always_inline)) uint64_t fm_short_reach(fm_short_floats a,
                                                                     fm_short_floats b)
{
#ifdef __AVX512F__
    return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GE_OQ);
#else
    const fm_short_counts mask = a >= b;
    uint64_t bits = 0;
    for (int lane = 0; lane < 16; lane++)
        bits |= (uint64_t)(mask[lane] & 1) << lane;
    return bits;
#endif
}

/* now where a > b, else before. */
static inline __attribute__((always_inline)) fm_short_counts
fm_short_replace(fm_short_floats a, fm_short_floats b, fm_short_counts now, fm_short_counts before)
{
#ifdef __AVX512F__
    const __mmask16 mask = _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ);
    return (fm_short_counts)_mm512_mask_mov_epi32((__m512i)before, mask, (__m512i)now);
#else
    const fm_short_counts mask = a > b;
    return (mask & now) | (~mask & before);
#endif
}

/* In lane l the sum of vector l's lanes. */
static inline __attribute__((always_inline)) fm_short_counts
fm_short_sums(const fm_short_counts vectors[16])
{
#ifdef __AVX512F__
    __m512i a[8], b[4];
    for (int i = 0; i < 8; i++) {
        const __m512i one = (__m512i)vectors[2 * i], other = (__m512i)vectors[2 * i + 1];
        a[i] =
            _mm512_add_epi32(_mm512_unpacklo_epi32(one, other), _mm512_unpackhi_epi32(one, other));
    }
    for (int i = 0; i < 4; i++)
        b[i] = _mm512_add_epi32(_mm512_unpacklo_epi64(a[2 * i], a[2 * i + 1]),
                                _mm512_unpackhi_epi64(a[2 * i], a[2 * i + 1]));
    for (int i = 0; i < 2; i++)
        a[i] = _mm512_add_epi32(_mm512_shuffle_i32x4(b[2 * i], b[2 * i + 1], 0x88),
                                _mm512_shuffle_i32x4(b[2 * i], b[2 * i + 1], 0xdd));
    return (fm_short_counts)_mm512_add_epi32(_mm512_shuffle_i32x4(a[0], a[1], 0x88),
                                             _mm512_shuffle_i32x4(a[0], a[1], 0xdd));
#else
    fm_short_counts out = {0};
    for (int i = 0; i < 16; i++)
        for (int lane = 0; lane < 16; lane++)
            out[i] += vectors[i][lane];
    return out;
#endif
}

/* a where the bit of a lane is set, else b. */
static inline __attribute__((always_inline)) fm_short_floats fm_short_pick(uint64_t bits,
                                                                           fm_short_floats a,
                                                                           fm_short_floats b)
{
#ifdef __AVX512F__
    return (fm_short_floats)_mm512_mask_mov_ps((__m512)b, (__mmask16)bits, (__m512)a);
#else
    for (int lane = 0; lane < 16; lane++)
        b[lane] = bits >> lane & 1 ? a[lane] : b[lane];
    return b;
#endif
}

/* table[at[l]] in lane l. */
static inline __attribute__((always_inline)) fm_short_floats fm_short_take(const float *table,
                                                                           const int32_t *at)
{
#ifdef __AVX512F__
    return (fm_short_floats)_mm512_i32gather_ps(_mm512_loadu_si512(at), table, 4);
#else
    float out[16];
    for (int lane = 0; lane < 16; lane++)
        memcpy(out + lane, table + at[lane], sizeof *out); /* whole numbers are taken so as well */
    return *(const fm_short_floats *)out;
#endif
}

static inline __attribute__((always_inline)) float fm_short_sum(fm_short_floats a)
{
#ifdef __AVX512F__
    return _mm512_reduce_add_ps((__m512)a);
#else
    float sum = 0;
    for (int lane = 0; lane < 16; lane++)
        sum += a[lane];
    return sum;
#endif
}

static inline __attribute__((always_inline)) fm_short_floats fm_short_root(fm_short_floats a)
{
#ifdef __AVX512F__
    return (fm_short_floats)_mm512_sqrt_ps((__m512)a);
#else
    for (int lane = 0; lane < 16; lane++)
        a[lane] = __builtin_sqrtf(a[lane]);
    return a;
#endif
}

#endif
