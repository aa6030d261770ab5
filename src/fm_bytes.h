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
fm_short_replace(fm_short_floats a, fm_short_floats b, int32_t now, fm_short_counts before)
{
#ifdef __AVX512F__
    const __mmask16 mask = _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ);
    return (fm_short_counts)_mm512_mask_mov_epi32((__m512i)before, mask, _mm512_set1_epi32(now));
#else
    const fm_short_counts mask = a > b;
    return (mask & now) | (~mask & before);
#endif
}

/* table[at[l]] in lane l. */
static inline __attribute__((always_inline)) fm_short_floats fm_short_take(const float *table,
                                                                           const int32_t *at)
{
#ifdef __AVX512F__
    return (fm_short_floats)_mm512_i32gather_ps(_mm512_loadu_si512(at), table, 4);
#else
    fm_short_floats out = {0};
    for (int lane = 0; lane < 16; lane++)
        out[lane] = table[at[lane]];
    return out;
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

/* Rows of a tile and centres near to them. */
typedef struct {
    int32_t *row, *label;
    float *score;
    ptrdiff_t n;
} fm_short_pairs;

/* Appends centre label for the lanes of mask, which are rows from `first` on; writes 16 elements. */
static inline __attribute__((always_inline)) void fm_short_append(fm_short_pairs *pairs,
                                                                  uint64_t mask, int first,
                                                                  int32_t label,
                                                                  fm_short_floats score)
{
    int32_t *row = pairs->row + pairs->n, *labels = pairs->label + pairs->n;
    float *scores = pairs->score + pairs->n;
    pairs->n += __builtin_popcountll(mask);
#ifdef __AVX512F__
    const __m512i rows =
        _mm512_add_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                         _mm512_set1_epi32(first));
    _mm512_storeu_si512(row, _mm512_maskz_compress_epi32((__mmask16)mask, rows));
    _mm512_storeu_ps(scores, _mm512_maskz_compress_ps((__mmask16)mask, (__m512)score));
    _mm512_storeu_si512(labels, _mm512_set1_epi32(label));
#else
    for (; mask; mask &= mask - 1) {
        const int lane = __builtin_ctzll(mask);
        *row++ = first + lane;
        *labels++ = label;
        *scores++ = score[lane];
    }
#endif
}

/* Keeps the pairs whose score is at least the top of their row. */
static inline void fm_short_filter(fm_short_pairs *pairs, const float *top)
{
    ptrdiff_t n = 0;
#ifdef __AVX512F__
    for (ptrdiff_t i = 0; i < pairs->n; i += 16) {
        const __m512i row = _mm512_loadu_si512(pairs->row + i);
        const __m512i label = _mm512_loadu_si512(pairs->label + i);
        const __m512 score = _mm512_loadu_ps(pairs->score + i);
        const __mmask16 some = (__mmask16)(pairs->n - i < 16 ? (1 << (pairs->n - i)) - 1 : 0xffff);
        const __m512 least = _mm512_mask_i32gather_ps(score, some, row, top, 4);
        const __mmask16 stays = some & _mm512_cmp_ps_mask(score, least, _CMP_GE_OQ);
        _mm512_storeu_si512(pairs->row + n, _mm512_maskz_compress_epi32(stays, row));
        _mm512_storeu_si512(pairs->label + n, _mm512_maskz_compress_epi32(stays, label));
        _mm512_storeu_ps(pairs->score + n, _mm512_maskz_compress_ps(stays, score));
        n += __builtin_popcount(stays);
    }
#else
    for (ptrdiff_t i = 0; i < pairs->n; i++) {
        pairs->row[n] = pairs->row[i];
        pairs->label[n] = pairs->label[i];
        pairs->score[n] = pairs->score[i];
        n += pairs->score[i] >= top[pairs->row[i]];
    }
#endif
    pairs->n = n;
}

/* The arrays of a shortlist, to be written. */
typedef struct {
    int32_t *codes, *start, *label, *place;
    float *bias, *float_bias, *ratio, *inverse_ratio, *group_norm, *group_error, *floats;
} fm_short_arrays;

#endif
