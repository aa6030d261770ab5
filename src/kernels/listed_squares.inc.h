/* SPDX-License-Identifier: BSD-3-Clause */
/* Squared Mahalanobis distances, as in mahalanobis.inc.h, of listed rows that lie one after another
 * in memory: turned into a tile of their columns, and then the same chains of operations. */

/* Four columns of FM_TURN rows: to[t * width + r] = row[r][t]. */
#undef FM_TURN
#if FM_VECTOR_BYTES == 64 && defined(__AVX512F__) && defined(FM_DOUBLE)
#define FM_TURN 8
FM_INLINE __m512d FM_NAME(row_pair)(const real *a, const real *b)
{
    return _mm512_insertf64x4(_mm512_castpd256_pd512(_mm256_loadu_pd(a)), _mm256_loadu_pd(b), 1);
}

FM_INLINE void FM_NAME(turn_strip)(const real *const *row, ptrdiff_t at, ptrdiff_t width,
                                   real *restrict to)
{
    const __m512d a = FM_NAME(row_pair)(row[0] + at, row[2] + at);
    const __m512d b = FM_NAME(row_pair)(row[1] + at, row[3] + at);
    const __m512d c = FM_NAME(row_pair)(row[4] + at, row[6] + at);
    const __m512d d = FM_NAME(row_pair)(row[5] + at, row[7] + at);
    const __m512d ab = _mm512_unpacklo_pd(a, b), ab1 = _mm512_unpackhi_pd(a, b);
    const __m512d cd = _mm512_unpacklo_pd(c, d), cd1 = _mm512_unpackhi_pd(c, d);
    _mm512_storeu_pd(to, _mm512_shuffle_f64x2(ab, cd, 0x88));
    _mm512_storeu_pd(to + width, _mm512_shuffle_f64x2(ab1, cd1, 0x88));
    _mm512_storeu_pd(to + 2 * width, _mm512_shuffle_f64x2(ab, cd, 0xdd));
    _mm512_storeu_pd(to + 3 * width, _mm512_shuffle_f64x2(ab1, cd1, 0xdd));
}
#elif FM_VECTOR_BYTES == 64 && defined(__AVX512DQ__)
#define FM_TURN 16
FM_INLINE __m512d FM_NAME(four_rows)(const real *const *row, ptrdiff_t at)
{
    const __m512 first = _mm512_castps128_ps512(_mm_loadu_ps(row[0] + at));
    const __m512 two = _mm512_insertf32x4(first, _mm_loadu_ps(row[4] + at), 1);
    const __m512 three = _mm512_insertf32x4(two, _mm_loadu_ps(row[8] + at), 2);
    return (__m512d)_mm512_insertf32x4(three, _mm_loadu_ps(row[12] + at), 3);
}

FM_INLINE void FM_NAME(turn_strip)(const real *const *row, ptrdiff_t at, ptrdiff_t width,
                                   real *restrict to)
{
    const __m512 a = (__m512)FM_NAME(four_rows)(row, at);
    const __m512 b = (__m512)FM_NAME(four_rows)(row + 1, at);
    const __m512 c = (__m512)FM_NAME(four_rows)(row + 2, at);
    const __m512 d = (__m512)FM_NAME(four_rows)(row + 3, at);
    const __m512d ab = (__m512d)_mm512_unpacklo_ps(a, b), ab2 = (__m512d)_mm512_unpackhi_ps(a, b);
    const __m512d cd = (__m512d)_mm512_unpacklo_ps(c, d), cd2 = (__m512d)_mm512_unpackhi_ps(c, d);
    _mm512_storeu_ps(to, (__m512)_mm512_unpacklo_pd(ab, cd));
    _mm512_storeu_ps(to + width, (__m512)_mm512_unpackhi_pd(ab, cd));
    _mm512_storeu_ps(to + 2 * width, (__m512)_mm512_unpacklo_pd(ab2, cd2));
    _mm512_storeu_ps(to + 3 * width, (__m512)_mm512_unpackhi_pd(ab2, cd2));
}
#else
#define FM_TURN 4
FM_INLINE void FM_NAME(turn_strip)(const real *const *row, ptrdiff_t at, ptrdiff_t width,
                                   real *restrict to)
{
    const quad a = *(const quad *)(row[0] + at), b = *(const quad *)(row[1] + at);
    const quad c = *(const quad *)(row[2] + at), d = *(const quad *)(row[3] + at);
    const quad ab0 = fm_shuffle(a, b, 0, 4, 2, 6), ab1 = fm_shuffle(a, b, 1, 5, 3, 7);
    const quad cd0 = fm_shuffle(c, d, 0, 4, 2, 6), cd1 = fm_shuffle(c, d, 1, 5, 3, 7);
    *(quad *)to = fm_shuffle(ab0, cd0, 0, 1, 4, 5);
    *(quad *)(to + width) = fm_shuffle(ab1, cd1, 0, 1, 4, 5);
    *(quad *)(to + 2 * width) = fm_shuffle(ab0, cd0, 2, 3, 6, 7);
    *(quad *)(to + 3 * width) = fm_shuffle(ab1, cd1, 2, 3, 6, 7);
}
#endif

/* |P (x - mu)|^2 of 1 or 2 (a constant) vectors of listed rows, into q. */
FM_INLINE void FM_NAME(listed_squares)(const real *rows, ptrdiff_t row_stride, const int32_t *list,
                                       ptrdiff_t left, ptrdiff_t d, const real *panel, int vectors,
                                       real *restrict x, real *restrict z, real *q)
{
    const ptrdiff_t width = vectors * FM_LANES;
    const ptrdiff_t step = width < FM_TURN ? width : FM_TURN;
    for (ptrdiff_t r = 0; r < width; r += step) {
        const real *row[FM_TURN];
        ptrdiff_t t = 0;
        for (ptrdiff_t i = 0; i < step; i++)
            row[i] = rows + list[r + i < left ? r + i : left - 1] * row_stride;
        for (; step == FM_TURN && t + 4 <= d; t += 4)
            FM_NAME(turn_strip)(row, t, width, x + t * width + r);
        for (; t < d; t++)
            for (ptrdiff_t i = 0; i < step; i++)
                x[t * width + r + i] = row[i][t];
    }
    vec square[FM_TILE_VECTORS];
    for (int v = 0; v < vectors; v++)
        square[v] = fm_broadcast(fm_opaque(0));
    FM_NAME(factor_tile)(x, z, d, panel, panel + d, vectors, 0, square, NULL);
    for (int v = 0; v < vectors; v++)
        fm_store(q + v * FM_LANES, square[v]);
}
