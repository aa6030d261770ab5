/* SPDX-License-Identifier: BSD-3-Clause */
/* Moments of at most four columns, over all rows of a block, in 16 virtual lanes: a row's lane is
 * its position in the slot modulo 16, and fold_few adds the lanes up in one fixed order.  Rows
 * without a share add zero, which changes no bit: no list is needed, and the sums are bound by
 * loads.
 *
 *     lanes [1 + d + d (d + 1) / 2][16]: weight, first, lower triangle of second by rows;
 *
 * formulas as in moments.inc.h.  Columns y[t * stride + i] and r are zero from count up to a
 * multiple of 16 (finite y will do), and a block starts at a multiple of 16 of its slot.
 */

FM_INLINE void few_lanes(const double *restrict y, ptrdiff_t stride, ptrdiff_t d,
                         const double *restrict r, ptrdiff_t count, double *restrict lanes)
{
    for (ptrdiff_t lane = 0; lane < 16; lane += FM_LANES) {
        vec acc[FM_FEW_SUMS(4)];
        for (ptrdiff_t q = 0; q < FM_FEW_SUMS(d); q++)
            acc[q] = fm_load(lanes + q * 16 + lane);
        for (ptrdiff_t n = lane; n < count; n += 16) {
            vec row[4], scaled[4];
            const vec share = fm_load_once(r + n);
            acc[0] += share;
            for (ptrdiff_t t = 0; t < d; t++) {
                row[t] = fm_load_once(y + t * stride + n);
                scaled[t] = fm_rounded(share * row[t]);
                acc[1 + t] += scaled[t];
            }
            for (ptrdiff_t i = 0, q = 1 + d; i < d; i++)
                for (ptrdiff_t j = 0; j <= i; j++, q++)
                    acc[q] += row[i] * scaled[j];
        }
        for (ptrdiff_t q = 0; q < FM_FEW_SUMS(d); q++)
            fm_store(lanes + q * 16 + lane, acc[q]);
    }
}

static void moments_few(const double *y, ptrdiff_t stride, ptrdiff_t d, const double *r,
                        ptrdiff_t count, double *lanes)
{
    switch (d) {
    case 1: few_lanes(y, stride, 1, r, count, lanes); break;
    case 2: few_lanes(y, stride, 2, r, count, lanes); break;
    case 3: few_lanes(y, stride, 3, r, count, lanes); break;
    default: few_lanes(y, stride, 4, r, count, lanes);
    }
}

static double fold_lanes(const double *lanes)
{
    double sum[16];
    for (int i = 0; i < 16; i++)
        sum[i] = lanes[i];
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++)
            sum[i] += sum[i + half];
    return sum[0];
}

/* The lanes of a slot added to weight, first and second in their own layouts. */
static void fold_few(const double *lanes, ptrdiff_t d, double *weight, double *first,
                     double *second)
{
    *weight += fold_lanes(lanes);
    lanes += 16;
    for (ptrdiff_t t = 0; t < d; t++, lanes += 16)
        first[t] += fold_lanes(lanes);
    for (ptrdiff_t i = 0; i < d; i++)
        for (ptrdiff_t j = 0; j <= i; j++, lanes += 16)
            second[8 * i + j] += fold_lanes(lanes);
}

/* lanes[i mod 16] += w_i values_i (w NULL: 1), for the sums of ln p and of the entropies of a slot. */
static void add_lanes(const double *restrict values, const double *restrict w, ptrdiff_t count,
                      double *restrict lanes)
{
    vec sum[16 / FM_LANES];
    const ptrdiff_t whole = count / 16 * 16;
    for (int v = 0; v < 16 / FM_LANES; v++)
        sum[v] = fm_load(lanes + v * FM_LANES);
    for (ptrdiff_t i = 0; i < whole; i += 16)
        for (int v = 0; v < 16 / FM_LANES; v++)
            if (w)
                sum[v] += fm_load(w + i + v * FM_LANES) * fm_load(values + i + v * FM_LANES);
            else
                sum[v] += fm_load(values + i + v * FM_LANES);
    for (int v = 0; v < 16 / FM_LANES; v++)
        fm_store(lanes + v * FM_LANES, sum[v]);
    for (ptrdiff_t i = whole; i < count; i++)
        if (w)
            lanes[i - whole] += w[i] * values[i];
        else
            lanes[i - whole] += values[i];
}
