/* SPDX-License-Identifier: BSD-3-Clause */
/* Bounds that prove which components have no share in a row, so that an E-step with full covariances
 * need not look at them.
 *
 * m_ij = |P_j (x_i - mu_j)|, exactly, of the rows and parameters as the kernels read them.  After an
 * M-step
 *
 *     s m - h <= m' <= S m + h,   s and S the least and greatest singular value of P' P^-1,
 *                                 h = |P' (mu' - mu)|,
 *
 * and such maps compose.  Bounds are stored as they were before any of them, code <= (m + h) / s in
 * whole steps and upper >= (m - h) / S, so that nothing is written for a pair of which nothing new
 * is known.  fastmix/core/_mixture_bounds.py composes the maps, and rounds their floats to the safe
 * side.
 *
 * What must be proven is that the *computed* log term l_j = c_j - q_j / 2 is below the row's greatest
 * by the cut-off.  A computed root of q is m within a factor 1 +- e (mahalanobis.inc.h; e <= d u |P|
 * |P^-1|, which the maps include).  Rounding is monotonic, so that l_j is at most c_j - low^2 / 2,
 * rounded, and the greatest term at least that of any component b, c_b - up^2 / 2, rounded.  With the
 * one for b whose term was the greatest before,
 *
 *     low_ij^2 >= (2 * 41.45 + up_ib^2 - 2 c_b) (1 + FM_BOUND_SLACK) + 2 c_j
 *
 * proves it: the factor's addends are not negative, and roundings of both terms, of their difference
 * and of the floats here are a few 2^-24 of their sum.
 */
#ifndef FM_BOUND_SLACK
#define FM_BOUND_SLACK 0x1p-17f
#define FM_TWICE_CUTOFF ((float)(-2 * FM_LEAST_LOG))
#define FM_BOUND_PADDED(count) (((count) + 63) / 64 * 64)

FM_INLINE float bounds_root(double square)
{
    return __builtin_sqrtf((float)square);
}

/* Of every row of a block the component whose term is the greatest, and the bound of the distance to
 * that; with a place behind them for what is of no row. */
typedef struct {
    int32_t *best;
    float *upper;
    ptrdiff_t spare;
} nearest_pairs;

/* NaN is 0, which proves nothing. */
FM_INLINE uint8_t bounds_code(float root, float scale, float shift)
{
    const float code = root * scale + shift;
    return (uint8_t)(int)(code > 0 ? code < 255 ? code : 255 : 0);
}

/* The rows of a component that are open, as a list with room for count rounded up to 16; and how
 * many. */
FM_INLINE ptrdiff_t bounds_open_rows(const uint8_t *restrict codes, const float *restrict least,
                                     ptrdiff_t count, float scale, float shift, float twice,
                                     int32_t *restrict list)
{
    ptrdiff_t found = 0;
#if defined(__AVX512F__) && defined(FM_PACKS_LANES)
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (ptrdiff_t i = 0; i < count; i += 16) {
        const __m512i code = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(codes + i)));
        const __m512 low = _mm512_max_ps(
            _mm512_fmsub_ps(_mm512_cvtepi32_ps(code), _mm512_set1_ps(scale), _mm512_set1_ps(shift)),
            _mm512_setzero_ps());
        const __m512 needed = _mm512_loadu_ps(least + i) + _mm512_set1_ps(twice);
        const __mmask16 open = _mm512_cmp_ps_mask(low * low, needed, _CMP_NGE_UQ);
        const __m512i position = _mm512_add_epi32(lanes, _mm512_set1_epi32((int)i));
        _mm512_storeu_si512(list + found, _mm512_maskz_compress_epi32(open, position));
        found += __builtin_popcount(open);
    }
#else
    for (ptrdiff_t i = 0; i < count; i += 16) {
        uint8_t open[16];
        for (int r = 0; r < 16; r++) {
            const float bound = (float)codes[i + r] * scale - shift, low = bound > 0 ? bound : 0;
            open[r] = (uint8_t)(low * low >= least[i + r] + twice ? 0 : 1);
        }
        for (int r = 0; r < 16; r++) {
            list[found] = (int32_t)i + r;
            found += open[r];
        }
    }
#endif
    return found;
}

/* Codes and upper bounds of a block as if nothing had been composed yet. */
static void bounds_renew(const fm_mixture_bounds *b, ptrdiff_t start, ptrdiff_t count)
{
    for (ptrdiff_t j = 0; j < b->k; j++) {
        uint8_t *codes = b->codes + start * b->k + j * FM_BOUND_PADDED(count);
        for (ptrdiff_t i = 0; b->renewed[j] && i < FM_BOUND_PADDED(count); i++)
            codes[i] = bounds_code(codes[i], b->renew_scale[j], b->renew_shift[j]);
    }
    for (ptrdiff_t i = start; i < start + count; i++) {
        const int32_t j = b->best[i];
        b->upper[i] = b->upper[i] * b->renew_up_scale[j] + b->renew_up_shift[j];
    }
}
#endif

/* The pairs of a block that are open, component by component: their rows and squared distances q;
 * and the greatest term of every row. */
static void FM_NAME(open_pairs)(const fm_mixture_bounds *b, ptrdiff_t start, ptrdiff_t count,
                                const real *rows, ptrdiff_t row_stride, ptrdiff_t d,
                                const char *panels, ptrdiff_t panel_bytes, const real *constants,
                                fm_open_pairs *pairs, real *restrict top, fm_memory next,
                                void *scratch)
{
    const ptrdiff_t room = FM_BOUND_PADDED(count);
    float *restrict least = scratch;
    real *restrict x = (real *)(least + room), *restrict z = x + 2 * FM_LANES * d;
    fetch upcoming = start_fetch(next, next.bytes / 1024 + 1);
    for (ptrdiff_t i = 0; i < count; i++) {
        const int32_t j = b->best[start + i];
        const float up = b->upper[start + i] * b->up_scale[j] + b->up_shift[j];
        const float sum = (up * up + FM_TWICE_CUTOFF) - b->twice[j];
        least[i] = sum * (1 + FM_BOUND_SLACK);
    }
    for (ptrdiff_t i = count; i < room; i++)
        least[i] = -INFINITY;
    for (ptrdiff_t i = 0; i < room; i++)
        top[i] = -(real)INFINITY;
    pairs->computed = 0;
    for (ptrdiff_t j = 0; j < b->k; j++) {
        const uint8_t *codes = b->codes + start * b->k + j * room;
        int32_t *restrict list = pairs->rows + j * pairs->stride;
        real *restrict q = (real *)pairs->shares + j * pairs->stride;
        const real *panel = (const real *)(panels + j * panel_bytes);
        const ptrdiff_t found = bounds_open_rows(codes, least, count, b->low_scale[j],
                                                 b->low_shift[j], b->twice[j], list);
        const vec half = fm_broadcast((real)-0.5), constant = fm_broadcast(constants[j]);
        for (ptrdiff_t i = 0; i < found; i += 2 * FM_LANES) {
            const ptrdiff_t left = found - i, some = left < 2 * FM_LANES ? left : 2 * FM_LANES;
            real terms[2 * FM_LANES];
            if (left > FM_LANES)
                FM_NAME(listed_squares)(rows, row_stride, list + i, left, d, panel, 2, x, z, q + i);
            else
                FM_NAME(listed_squares)(rows, row_stride, list + i, left, d, panel, 1, x, z, q + i);
            for (int v = 0; v * FM_LANES < some; v++)
                fm_store(terms + v * FM_LANES, half * fm_load(q + i + v * FM_LANES) + constant);
            for (ptrdiff_t r = 0; r < some; r++) {
                real *const before = top + list[i + r];
                *before = terms[r] > *before ? terms[r] : *before;
            }
            fetch_some(&upcoming);
        }
        fetch_some(&upcoming);
        pairs->found[j] = found;
        pairs->computed += found;
    }
}

/* From squared distances exp(l - m) of 2 or 4 (a constant) vectors of pairs of component j, of which
 * `some` count, or exactly 0 below the cut-off, in place; added to the sums of their rows.  A pair
 * that has a share is open the next time as well: only those without get a bound.  The nearest of a
 * row is any whose exponential is 1. */
FM_INLINE void FM_NAME(pair_exponentials)(const fm_mixture_bounds *b, ptrdiff_t j, real constant,
                                          real *restrict terms, const int32_t *restrict list,
                                          ptrdiff_t some, int vectors, const real *restrict top,
                                          real *restrict sum, uint8_t *restrict codes,
                                          nearest_pairs nearest)
{
    const float scale = b->code_scale[j], shift = b->code_shift[j];
    const float up_scale = b->upper_scale[j], up_shift = b->upper_shift[j];
    const vec cutoff = fm_broadcast(FM_CUTOFF);
    real tops[4 * FM_LANES], shares[4 * FM_LANES];
    float roots[4 * FM_LANES], uppers[4 * FM_LANES];
    vec below[4], power[4];
    for (ptrdiff_t i = 0; i < some; i++)
        tops[i] = top[list[i]];
    for (ptrdiff_t i = some; i < vectors * FM_LANES; i++)
        tops[i] = 0;
    for (int v = 0; v < vectors; v++) {
        const vec most = fm_load(tops + v * FM_LANES);
        below[v] = FM_NAME(below_top)(terms + v * FM_LANES, constant, most);
        power[v] = fm_max(below[v], cutoff);
    }
    FM_NAME(exps)(power, vectors);
    for (int v = 0; v < vectors; v++) {
        const fm_live live = fm_not_below(below[v], cutoff);
        fm_store(shares + v * FM_LANES, fm_keep(live, power[v]));
    }
    for (int i = 0; i < vectors * FM_LANES; i++) {
        roots[i] = bounds_root(terms[i]);
        uppers[i] = roots[i] * up_scale - up_shift;
    }
    /* Which are the nearest is unpredictable: the others go to the place behind the rows. */
    for (ptrdiff_t i = 0; i < some; i++) {
        const ptrdiff_t row = list[i], spare = nearest.spare;
        const ptrdiff_t place = spare + ((row - spare) & -(ptrdiff_t)(shares[i] == 1));
        sum[row] += shares[i];
        nearest.best[place] = (int32_t)j;
        nearest.upper[place] = uppers[i];
        if (!(shares[i] > 0))
            codes[row] = bounds_code(roots[i], scale, shift);
        terms[i] = shares[i];
    }
}

/* Responsibilities of the pairs of one component, those that are zero left out; how many. */
FM_INLINE ptrdiff_t FM_NAME(pairs_with_share)(real *restrict terms, int32_t *restrict list,
                                              ptrdiff_t count, const real *restrict inverse)
{
    ptrdiff_t found = 0, i = 0;
#if defined(FM_PACKS_LANES) && defined(FM_DOUBLE)
    for (; i + 8 <= count; i += 8) {
        const __m256i row = _mm256_loadu_si256((const __m256i *)(list + i));
        const __m512d share =
            _mm512_loadu_pd(terms + i) * _mm512_i32gather_pd(row, inverse, sizeof(double));
        const __mmask8 positive = _mm512_cmp_pd_mask(share, _mm512_setzero_pd(), _CMP_GT_OQ);
        _mm256_storeu_si256((__m256i *)(list + found), _mm256_maskz_compress_epi32(positive, row));
        _mm512_storeu_pd(terms + found, _mm512_maskz_compress_pd(positive, share));
        found += __builtin_popcount(positive);
    }
#endif
    for (; i < count; i++) {
        const int32_t row = list[i];
        const real share = terms[i] * inverse[row];
        list[found] = row;
        terms[found] = share;
        found += share > 0;
    }
    return found;
}

/* softmax.inc.h of the pairs of a block alone, the others having no share: the same operations in
 * the same order, and so the same bits. */
static ptrdiff_t FM_NAME(bounds_expect)(const fm_mixture_bounds *b, ptrdiff_t start,
                                        ptrdiff_t count, const void *rows, ptrdiff_t row_stride,
                                        ptrdiff_t d, const char *panels, ptrdiff_t panel_bytes,
                                        const void *constants, double greatest,
                                        fm_open_pairs *pairs, double *log_prob, fm_memory next,
                                        void *scratch)
{
    const ptrdiff_t room = FM_BOUND_PADDED(count);
    real *restrict top = scratch, *restrict sum = top + room;
    float *restrict upper = (float *)(sum + room);
    int32_t *restrict best = (int32_t *)(upper + room + 16);
    const nearest_pairs nearest = {best, upper, room};
    int finite = 1;
    ptrdiff_t live = 0;
    if (b->renewed)
        bounds_renew(b, start, count);
    FM_NAME(open_pairs)(b, start, count, rows, row_stride, d, panels, panel_bytes, constants, pairs,
                        top, next, best + room + 16);
    for (ptrdiff_t i = 0; i < room; i++) {
        sum[i] = 0;
        upper[i] = INFINITY;
        best[i] = 0;
    }
    for (ptrdiff_t j = 0; j < b->k; j++) {
        real *terms = (real *)pairs->shares + j * pairs->stride;
        const int32_t *list = pairs->rows + j * pairs->stride;
        const real constant = ((const real *)constants)[j];
        uint8_t *codes = b->codes + start * b->k + j * room;
        const ptrdiff_t found = pairs->found[j];
        ptrdiff_t i = 0;
        for (; i + 2 * FM_LANES < found; i += 4 * FM_LANES) {
            const ptrdiff_t some = found - i < 4 * FM_LANES ? found - i : 4 * FM_LANES;
            FM_NAME(pair_exponentials)(b, j, constant, terms + i, list + i, some, 4, top, sum,
                                       codes, nearest);
        }
        if (i < found)
            FM_NAME(pair_exponentials)(b, j, constant, terms + i, list + i, found - i, 2, top, sum,
                                       codes, nearest);
    }
    memcpy(b->best + start, best, (size_t)count * sizeof *best);
    memcpy(b->upper + start, upper, (size_t)count * sizeof *upper);
    for (ptrdiff_t i = 0; i < count; i += FM_TILE_ROWS) {
        vec tops[FM_TILE_VECTORS], sums[FM_TILE_VECTORS];
        vec log_sum[FM_TILE_VECTORS], inverse[FM_TILE_VECTORS];
        for (int v = 0; v < FM_TILE_VECTORS; v++) {
            tops[v] = fm_load(top + i + v * FM_LANES);
            sums[v] = fm_load(sum + i + v * FM_LANES);
        }
        FM_NAME(sums_of_tile)(sums, log_sum, inverse);
        finite &= FM_NAME(log_prob_of_tile)(tops, log_sum,
                                            count - i < FM_TILE_ROWS ? count - i : FM_TILE_ROWS,
                                            greatest, log_prob + i);
        for (int v = 0; v < FM_TILE_VECTORS; v++)
            fm_store(sum + i + v * FM_LANES, inverse[v]);
    }
    for (ptrdiff_t j = 0; j < b->k; j++) {
        real *terms = (real *)pairs->shares + j * pairs->stride;
        int32_t *list = pairs->rows + j * pairs->stride;
        const ptrdiff_t shared = FM_NAME(pairs_with_share)(terms, list, pairs->found[j], sum);
        pairs->found[j] = shared;
        live += shared;
    }
    return finite ? live : -1;
}

/* The pairs of one component with r w > 0 (w indexed by row, NULL: 1): their rows and r w. */
static ptrdiff_t FM_NAME(weigh_pairs)(const void *shares, const int32_t *restrict rows,
                                      ptrdiff_t count, const double *w, int32_t *restrict list,
                                      double *restrict out)
{
    const real *r = shares;
    ptrdiff_t found = 0;
    for (ptrdiff_t i = 0; i < count; i++) {
        const double value = w ? (double)r[i] * w[rows[i]] : (double)r[i];
        list[found] = rows[i];
        out[found] = value;
        found += value > 0;
    }
    return found;
}

static void FM_NAME(bounds_take)(const fm_mixture_bounds *b, ptrdiff_t start, ptrdiff_t count,
                                 ptrdiff_t at, ptrdiff_t rows, const void *terms, ptrdiff_t stride,
                                 void *scratch)
{
    const ptrdiff_t room = FM_BOUND_PADDED(count);
    uint8_t *const block = b->codes + (start - at) * b->k + at;
    float *restrict top = scratch, *restrict square = top + room;
    int32_t *restrict best = b->best + start;
    for (ptrdiff_t i = 0; i < count; i++) {
        top[i] = -INFINITY;
        square[i] = INFINITY;
        best[i] = 0;
    }
    for (ptrdiff_t j = 0; j < b->k; j++) {
        uint8_t *restrict codes = block + j * FM_BOUND_PADDED(rows);
        const real *restrict q = (const real *)terms + j * stride;
        const float scale = b->code_scale[j], shift = b->code_shift[j], twice = b->twice[j];
        for (ptrdiff_t i = 0; i < count; i++)
            codes[i] = bounds_code(bounds_root(q[i]), scale, shift);
        for (ptrdiff_t i = count; i < room; i++)
            codes[i] = 0;
        for (ptrdiff_t i = 0; i < count; i++) {
            const float value = (float)q[i], term = twice - value;
            const int wins = term > top[i];
            top[i] = wins ? term : top[i];
            square[i] = wins ? value : square[i];
            best[i] = wins ? (int32_t)j : best[i];
        }
    }
    for (ptrdiff_t i = 0; i < count; i++)
        b->upper[start + i] =
            bounds_root(square[i]) * b->upper_scale[best[i]] - b->upper_shift[best[i]];
}
