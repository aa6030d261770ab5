/* SPDX-License-Identifier: BSD-3-Clause */
/* Which centres may be nearest to a sparse row, from centres of 16 bits: a quarter of the bytes of
 * sparse_scores, which reads D K doubles from wherever the caches keep them.
 *
 * Everything is in a unit in which centres are about 1 at most.  Centre j is
 * step_j (q_j + e), |q_j| <= 32767 and |e| <= 1/2 + 2^-20.  For a row of L entries, scores
 * s_j = bias_j + step_j sum_i y_i q_ij are added up in float, in pieces of SCREEN_PIECE entries.
 * With u = 2^-24 and |y|_1 = sum_i |y_i|, an s_j differs from the exact score by at most
 *
 *     step_j |y|_1 / 2                         for the centres,
 *     step_j |y|_1 2^15 u (P + L / P + 4)      for y, products and sums, P = min(L, SCREEN_PIECE),
 *     3 u |bias_j|                             for the bias and its sum;
 *
 * 10 and 8 stand for 4 and 3 below, which covers sparse_scores in float64 (an error of
 * (L + 1) 2^-53 (|bias_j| + step_j |y|_1 2^15), L < 2^30) and the roundings of the bounds.  Hence
 * the nearest centre by sparse_scores, and each that ties with it, is among those with
 * s_j + error_j >= max_i (s_i - error_i).
 */

enum {
    SCREEN_PIECE = 128,
    SCREEN_VECTORS = 8,
    SCREEN_LANES = FM_VECTOR_BYTES / 4
};
/* Rows whose numbers a float holds without loss of relative precision. */
#define SCREEN_GREATEST 0x1p60

typedef float screen_vec __attribute__((vector_size(FM_VECTOR_BYTES), aligned(4), may_alias));
typedef int32_t screen_int __attribute__((vector_size(FM_VECTOR_BYTES)));
typedef int16_t screen_short
    __attribute__((vector_size(FM_VECTOR_BYTES / 2), aligned(2), may_alias));
#define screen_at(array, j) (*(screen_vec *)((array) + (j)))

/* Rows first .. last of q (d, padded): c (k, d) times inverse_j, rounded. */
static void screen_centers(const double *c, ptrdiff_t k, ptrdiff_t d, const double *inverse,
                           ptrdiff_t first, ptrdiff_t last, ptrdiff_t padded, int16_t *q)
{
    enum {
        COLUMNS = 32
    };
    for (ptrdiff_t t = first; t < last; t += COLUMNS) {
        const ptrdiff_t count = last - t < COLUMNS ? last - t : COLUMNS;
        for (ptrdiff_t j = 0; j < padded; j++) {
            int32_t whole[COLUMNS] = {0};
            if (j < k)
                for (ptrdiff_t l = 0; l < count; l++) {
                    const double v = c[j * d + t + l] * inverse[j];
                    whole[l] = (int32_t)(v + (v < 0 ? -0.5 : 0.5));
                }
            for (ptrdiff_t l = 0; l < count; l++)
                q[(t + l) * padded + j] = (int16_t)whole[l];
        }
    }
}

/* sum + y q, fused or not.  For __builtin_convertvector gcc 12 takes four instructions where one
 * would do: an E-step in 0.135 instead of 0.082 s (100,000 rows, 100 entries, K=100, Zen 4). */
FM_INLINE screen_vec screen_add(screen_vec sum, float y, const int16_t *q)
{
#if FM_VECTOR_BYTES == 64 && defined(__AVX512F__)
    const __m512i whole = _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)q));
    return (screen_vec)_mm512_fmadd_ps(_mm512_set1_ps(y), _mm512_cvtepi32_ps(whole), (__m512)sum);
#elif FM_VECTOR_BYTES == 32 && defined(__AVX2__) && defined(__FMA__)
    const __m256i whole = _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)q));
    return (screen_vec)_mm256_fmadd_ps(_mm256_set1_ps(y), _mm256_cvtepi32_ps(whole), (__m256)sum);
#elif FM_VECTOR_BYTES == 16 && defined(__SSE4_1__)
    const __m128i whole = _mm_cvtepi16_epi32(_mm_loadl_epi64((const __m128i *)q));
    return sum + y * (screen_vec)_mm_cvtepi32_ps(whole);
#else
    const screen_short part = *(const screen_short *)q;
    return sum + y * __builtin_convertvector(__builtin_convertvector(part, screen_int), screen_vec);
#endif
}

/* scores[0 .. vectors lanes) += sum_i y_i q_i, in as many chains as hide an addition's latency. */
FM_INLINE void screen_piece(const ptrdiff_t *column, const float *y, ptrdiff_t count,
                            const int16_t *q, ptrdiff_t padded, const int vectors, float *scores)
{
    enum {
        CHAINS = 4
    };
    const int chains = vectors == 1 ? CHAINS : vectors < 4 ? 2 : 1;
    screen_vec sum[CHAINS * SCREEN_VECTORS];
    FM_UNROLL
    for (int v = 0; v < chains * vectors; v++)
        sum[v] = (screen_vec){0};
    ptrdiff_t i = 0;
    for (; i + chains <= count; i += chains) {
        FM_UNROLL
        for (int c = 0; c < chains; c++) {
            const int16_t *from = q + column[i + c] * padded;
            /* gcc 12 would keep an address for every vector, in registers that it lacks. */
            __asm__("" : "+r"(from));
            const int16_t *ahead = q + column[i + c + 8 < count ? i + c + 8 : i] * padded;
            FM_UNROLL
            for (int v = 0; v < vectors; v++) {
                if (v * SCREEN_LANES % 32 == 0)
                    __builtin_prefetch(ahead + v * SCREEN_LANES);
                sum[c * vectors + v] =
                    screen_add(sum[c * vectors + v], y[i + c], from + v * SCREEN_LANES);
            }
        }
    }
    for (; i < count; i++) {
        FM_UNROLL
        for (int v = 0; v < vectors; v++)
            sum[v] = screen_add(sum[v], y[i], q + column[i] * padded + v * SCREEN_LANES);
    }
    FM_UNROLL
    for (int v = 0; v < vectors; v++) {
        for (int c = 1; c < chains; c++)
            sum[v] += sum[c * vectors + v];
        screen_at(scores, v * SCREEN_LANES) += sum[v];
    }
}

/* sum_i |y_i| in any order. */
FM_INLINE double screen_size(const double *y, ptrdiff_t count)
{
    double part[8] = {0};
    ptrdiff_t i = 0;
    for (; i + 8 <= count; i += 8)
        for (int l = 0; l < 8; l++)
            part[l] += __builtin_fabs(y[i + l]);
    for (; i < count; i++)
        part[0] += __builtin_fabs(y[i]);
    return ((part[0] + part[1]) + (part[2] + part[3])) +
           ((part[4] + part[5]) + (part[6] + part[7]));
}

/* Centres that may be nearest, ascending, in found (padded), if the score of some other centre is
 * at least *least; how many, or -1 where the row is beyond the range of floats.  Each score is at
 * most scores[j] (padded), the greatest at least *least. */
static ptrdiff_t screen(const fm_screen *s, const ptrdiff_t *column, const double *y,
                        ptrdiff_t count, float *least, float *scores, int32_t *found)
{
    const ptrdiff_t padded = s->padded;
    const double sum = screen_size(y, count) * s->unit;
    if (!(sum < SCREEN_GREATEST))
        return -1;
    for (ptrdiff_t j = 0; j < padded; j++)
        scores[j] = 0;
    for (ptrdiff_t at = 0; at < count; at += SCREEN_PIECE) {
        const ptrdiff_t entries = count - at < SCREEN_PIECE ? count - at : SCREEN_PIECE;
        float part[SCREEN_PIECE];
        for (ptrdiff_t i = 0; i < entries; i++)
            part[i] = (float)(y[at + i] * s->unit);
        for (ptrdiff_t j = 0; j < padded;) {
            const ptrdiff_t left = (padded - j) / SCREEN_LANES;
            const ptrdiff_t vectors = left < SCREEN_VECTORS ? left : SCREEN_VECTORS;
#define FM_PIECE(n)                                                                                \
    case n: screen_piece(column + at, part, entries, s->q + j, padded, n, scores + j); break
            switch (vectors) {
                FM_PIECE(1);
                FM_PIECE(2);
                FM_PIECE(3);
                FM_PIECE(4);
                FM_PIECE(5);
                FM_PIECE(6);
                FM_PIECE(7);
                FM_PIECE(8);
            }
#undef FM_PIECE
            j += vectors * SCREEN_LANES;
        }
    }
    const double piece = count < SCREEN_PIECE ? (double)count : SCREEN_PIECE;
    const double roundings = piece + (double)(count / SCREEN_PIECE) + 10;
    /* In steps.  What is added to the sum is more than numbers too small for a float can make. */
    const float error = (float)((sum + 0x1p-80) * (0.5 + roundings * 0x1p-9) * (1 + 0x1p-10));
    screen_vec best = (screen_vec){0} - INFINITY;
    for (ptrdiff_t j = 0; j < padded; j += SCREEN_LANES) {
        const screen_vec slack = screen_at(s->slack, j) + error * screen_at(s->step, j);
        const screen_vec score =
            screen_at(s->bias, j) + screen_at(s->step, j) * screen_at(scores, j);
        const screen_vec low = score - slack;
        const screen_int above = low > best;
        best = (screen_vec)((above & (screen_int)low) | (~above & (screen_int)best));
        screen_at(scores, j) = score + slack;
    }
    for (int l = 0; l < SCREEN_LANES; l++)
        *least = best[l] > *least ? best[l] : *least;
    ptrdiff_t n = 0;
    for (ptrdiff_t j = 0; j < padded; j += SCREEN_LANES) {
        const screen_int may = screen_at(scores, j) >= *least;
        if (FM_NAME(any)((ivec)may))
            for (int l = 0; l < SCREEN_LANES; l++) {
                found[n] = (int32_t)(j + l);
                n += may[l] != 0;
            }
    }
    return n;
}

/* The greatest of scores (padded), which are not kept, but for one (-1: none). */
static float screen_rest(const fm_screen *s, float *scores, int32_t but)
{
    screen_vec most = (screen_vec){0} - INFINITY;
    if (but >= 0)
        scores[but] = -INFINITY;
    for (ptrdiff_t j = 0; j < s->padded; j += SCREEN_LANES) {
        const screen_vec score = screen_at(scores, j);
        const screen_int above = score > most;
        most = (screen_vec)((above & (screen_int)score) | (~above & (screen_int)most));
    }
    float greatest = most[0];
    for (int l = 1; l < SCREEN_LANES; l++)
        greatest = most[l] > greatest ? most[l] : greatest;
    return greatest;
}
#undef screen_at
