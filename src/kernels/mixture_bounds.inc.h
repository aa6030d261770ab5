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
 * rounded, and the greatest term at least that of any component b, c_b - up^2 / 2, rounded.  Hence
 *
 *     low_ij^2 >= (2 * 41.45 + up_ib^2 - 2 c_b) (1 + FM_BOUND_SLACK) + 2 c_j
 *
 * proves it: the factor's addends are not negative, and roundings of both terms, of their difference
 * and of the floats here are a few 2^-24 of their sum.
 */
#ifndef FM_BOUND_SLACK
#define FM_BOUND_SLACK 0x1p-17f
#define FM_TWICE_CUTOFF 82.9f
/* A row gets another component b where the present one has a smaller share. */
#define FM_LEAST_SHARE 0.0625f
#define FM_BOUND_PADDED(count) (((count) + 63) / 64 * 64)

FM_INLINE float bounds_root(double square)
{
    return __builtin_sqrtf((float)square);
}

/* NaN is 0, which proves nothing. */
FM_INLINE uint8_t bounds_code(float root, float scale, float shift)
{
    const float code = root * scale + shift;
    return (uint8_t)(int)(code > 0 ? code < 255 ? code : 255 : 0);
}

/* The rows of a component that are open, as a list with room for 16 more; and how many. */
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

/* Four columns of four rows: to[t * width + r] = row[r][t]. */
FM_INLINE void FM_NAME(turn_strip)(const real *const row[4], ptrdiff_t at, ptrdiff_t width,
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

/* |P (x - mu)|^2 of 1 or 2 (a constant) vectors of listed rows, into q. */
FM_INLINE void FM_NAME(listed_squares)(const real *rows, ptrdiff_t row_stride, const int32_t *list,
                                       ptrdiff_t left, ptrdiff_t d, const real *panel, int vectors,
                                       real *restrict x, real *restrict z, real *q)
{
    const ptrdiff_t width = vectors * FM_LANES;
    const ptrdiff_t step = width < 4 ? width : 4;
    for (ptrdiff_t r = 0; r < width; r += step) {
        const real *row[4];
        ptrdiff_t t = 0;
        for (ptrdiff_t i = 0; i < step; i++)
            row[i] = rows + list[r + i < left ? r + i : left - 1] * row_stride;
        for (; step == 4 && t + 4 <= d; t += 4)
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

static ptrdiff_t FM_NAME(bounds_prune)(const fm_mixture_bounds *b, ptrdiff_t start, ptrdiff_t count,
                                       const void *rows, ptrdiff_t row_stride, ptrdiff_t d,
                                       const char *panels, ptrdiff_t panel_bytes, void *terms,
                                       ptrdiff_t stride, void *scratch)
{
    const ptrdiff_t room = FM_BOUND_PADDED(count), end = FM_PADDED(count);
    float *restrict least = scratch;
    int32_t *restrict list = (int32_t *)(least + room);
    real *restrict x = (real *)(list + room + 16), *restrict z = x + 2 * FM_LANES * d;
    ptrdiff_t total = 0;
    if (b->renewed)
        bounds_renew(b, start, count);
    for (ptrdiff_t i = 0; i < count; i++) {
        const int32_t j = b->best[start + i];
        const float up = b->upper[start + i] * b->up_scale[j] + b->up_shift[j];
        const float sum = (up * up + FM_TWICE_CUTOFF) - b->twice[j];
        least[i] = sum * (1 + FM_BOUND_SLACK);
    }
    for (ptrdiff_t i = count; i < room; i++)
        least[i] = -INFINITY;
    for (ptrdiff_t j = 0; j < b->k; j++) {
        uint8_t *codes = b->codes + start * b->k + j * room;
        real *to = (real *)terms + j * stride;
        const real *panel = (const real *)(panels + j * panel_bytes);
        for (ptrdiff_t i = 0; i < end; i += FM_LANES)
            fm_store(to + i, fm_broadcast((real)INFINITY));
        for (ptrdiff_t i = count; i < end; i++)
            to[i] = 0;
        const ptrdiff_t found = bounds_open_rows(codes, least, count, b->low_scale[j],
                                                 b->low_shift[j], b->twice[j], list);
        const float scale = b->code_scale[j], shift = b->code_shift[j];
        for (ptrdiff_t i = 0; i < found; i += 2 * FM_LANES) {
            const ptrdiff_t left = found - i;
            real q[2 * FM_LANES];
            int32_t code[2 * FM_LANES];
            if (left > FM_LANES)
                FM_NAME(listed_squares)(rows, row_stride, list + i, left, d, panel, 2, x, z, q);
            else
                FM_NAME(listed_squares)(rows, row_stride, list + i, left, d, panel, 1, x, z, q);
            const ptrdiff_t some = left < 2 * FM_LANES ? left : 2 * FM_LANES;
            for (int r = 0; r < 2 * FM_LANES; r++)
                code[r] = bounds_code(bounds_root(q[r]), scale, shift);
            for (ptrdiff_t r = 0; r < some; r++) {
                to[list[i + r]] = q[r];
                codes[list[i + r]] = (uint8_t)code[r];
            }
        }
        total += found;
    }
    for (ptrdiff_t i = 0; i < count; i++) {
        const int32_t j = b->best[start + i];
        const float root = bounds_root(((const real *)terms)[j * stride + i]);
        b->upper[start + i] = root * b->upper_scale[j] - b->upper_shift[j];
    }
    return total;
}

static void FM_NAME(bounds_take)(const fm_mixture_bounds *b, ptrdiff_t start, ptrdiff_t count,
                                 const void *terms, ptrdiff_t stride, void *scratch)
{
    const ptrdiff_t room = FM_BOUND_PADDED(count);
    float *restrict top = scratch, *restrict square = top + room;
    int32_t *restrict best = b->best + start;
    for (ptrdiff_t i = 0; i < count; i++) {
        top[i] = -INFINITY;
        square[i] = INFINITY;
        best[i] = 0;
    }
    for (ptrdiff_t j = 0; j < b->k; j++) {
        uint8_t *restrict codes = b->codes + start * b->k + j * room;
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

static void FM_NAME(bounds_relabel)(const fm_mixture_bounds *b, ptrdiff_t start, ptrdiff_t count,
                                    const void *shares, ptrdiff_t stride, const double *log_prob,
                                    double greatest)
{
    for (ptrdiff_t i = 0; i < count; i++) {
        const real *share = (const real *)shares + i;
        if ((float)share[b->best[start + i] * stride] >= FM_LEAST_SHARE)
            continue;
        ptrdiff_t best = 0;
        for (ptrdiff_t j = 1; j < b->k; j++)
            best = share[j * stride] > share[best * stride] ? j : best;
        /* q = 2 (c - ln r - ln p), and ln r is at least -0.7 for every halving above r. */
        const float most = (float)(log_prob[i] - greatest), twice = b->twice[best];
        float halvings = 0, at = 1;
        for (; at > (float)share[best * stride] && halvings < 64; halvings++)
            at /= 2;
        const float size = __builtin_fabsf(most) + __builtin_fabsf(twice) + (float)b->k;
        const float square = (twice - 2 * most) + halvings * 1.4f + size * FM_BOUND_SLACK;
        b->best[start + i] = (int32_t)best;
        b->upper[start + i] =
            halvings < 64
                ? bounds_root(square > 0 ? square : 0) * b->upper_scale[best] - b->upper_shift[best]
                : INFINITY;
    }
}
