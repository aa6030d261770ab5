/* SPDX-License-Identifier: BSD-3-Clause */
/* Exact sums: the statistics of K-means, free of the order in which rows are added and removed.
 *
 * Each addend v is rounded once to a coarse and once to a fine grid,
 *
 *     q1 = (v + M1) - M1,   q2 = ((v - q1) + M2) - M2,   M = 1.5 * 2^52 * unit,
 *
 * and both sums of q are exact in float64 (pre-rounded summation: Demmel and Nguyen, "Fast
 * reproducible floating-point summation", ARITH 2013).  fm_grid_units() chooses the units so that
 * no sum of any subset of the rows, nor the difference of two, can leave 53 bits.
 *
 * A row has the statistics [w y_0 .. w y_(d-1), w, w |y|^2, padding], y = x * scale - offset in
 * float64; the sums of a cluster are [coarse: stride][fine: stride].
 *
 * This unit is compiled with -ffp-contract=off: its bits are the same for every ISA.
 */

typedef double v4 __attribute__((vector_size(32), aligned(8), may_alias));

/* y = x * scale - offset in float64 for one row. */
FM_INLINE void centered_row(const fm_matrix *x, const fm_grid *grid, ptrdiff_t d, const char *row,
                            double *restrict y)
{
    const double scale = grid->scale, *restrict offset = grid->offset;
    if (x->type == FM_F32 && !x->swapped && x->col_stride == 4) {
        typedef float user_float __attribute__((aligned(1), may_alias));
        const user_float *from = (const user_float *)row;
        for (ptrdiff_t t = 0; t < d; t++)
            y[t] = (double)from[t] * scale - offset[t];
    } else {
        load_run_f64(row, x->col_stride, x->type, x->swapped, d, y);
        for (ptrdiff_t t = 0; t < d; t++)
            y[t] = y[t] * scale - offset[t];
    }
}

/* sum_t (y_t - c_t)^2 in four chains, t modulo 4; c NULL stands for the origin. */
FM_INLINE double square_distance(const double *restrict y, const double *restrict c, ptrdiff_t d)
{
    v4 sum = {0};
    ptrdiff_t t = 0;
    for (; t + 4 <= d; t += 4) {
        v4 gap = *(const v4 *)(y + t);
        if (c)
            gap -= *(const v4 *)(c + t);
        sum += gap * gap;
    }
    for (; t < d; t++) {
        const double gap = c ? y[t] - c[t] : y[t];
        sum[t % 4] += gap * gap;
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

FM_INLINE ptrdiff_t index_of(const fm_block *block, ptrdiff_t i)
{
    return block->rows ? block->rows[i] : block->start + i;
}

typedef struct {
    v4 coarse, fine;
} rounded;

FM_INLINE rounded round_to_grids(const double *y, const double *coarse_grid,
                                 const double *fine_grid)
{
    const v4 v = *(const v4 *)y, coarse = *(const v4 *)coarse_grid, fine = *(const v4 *)fine_grid;
    const v4 q1 = (v + coarse) - coarse;
    return (rounded){q1, ((v - q1) + fine) - fine};
}

/* Statistics of up to FM_SUM_ROWS rows, which stay in the first-level cache, then their addition; d
 * is a constant where it is small. */
FM_INLINE void accumulate_few(const fm_matrix *x, const fm_block *block, ptrdiff_t start,
                              ptrdiff_t rows, const double *w, const fm_grid *grid, ptrdiff_t d,
                              const int32_t *added, const int32_t *removed, double *restrict sums,
                              double *restrict scratch)
{
    const ptrdiff_t stride = FM_SUM_STRIDE(d);
    /* No store through a v4 can change these. */
    const double *const coarse = grid->coarse, *const fine = grid->fine;
    for (ptrdiff_t i = 0; i < rows; i++) {
        double *y = scratch + i * stride;
        centered_row(x, grid, d, block_row(x, block, start + i), y);
        y[d] = 1;
        y[d + 1] = square_distance(y, NULL, d);
        for (ptrdiff_t t = d + 2; t < stride; t++)
            y[t] = 0;
        if (w) {
            const double weight = w[index_of(block, start + i)];
            for (ptrdiff_t t = 0; t < d + 2; t++)
                y[t] *= weight;
        }
    }
    for (ptrdiff_t i = 0; i < rows; i++) {
        const double *y = scratch + i * stride;
        const int32_t from = removed ? removed[start + i] : -1;
        double *plus = sums + 2 * stride * added[start + i];
        double *minus = sums + 2 * stride * from;
        if (from < 0)
            for (ptrdiff_t t = 0; t < stride; t += 4) {
                const rounded q = round_to_grids(y + t, coarse + t, fine + t);
                *(v4 *)(plus + t) += q.coarse;
                *(v4 *)(plus + stride + t) += q.fine;
            }
        else
            for (ptrdiff_t t = 0; t < stride; t += 4) {
                const rounded q = round_to_grids(y + t, coarse + t, fine + t);
                *(v4 *)(plus + t) += q.coarse;
                *(v4 *)(plus + stride + t) += q.fine;
                *(v4 *)(minus + t) -= q.coarse;
                *(v4 *)(minus + stride + t) -= q.fine;
            }
    }
}

static void accumulate(const fm_matrix *x, const fm_block *block, const double *w,
                       const fm_grid *grid, const int32_t *added, const int32_t *removed,
                       double *sums, double *scratch)
{
    for (ptrdiff_t start = 0; start < block->count; start += FM_SUM_ROWS) {
        const ptrdiff_t left = block->count - start;
        const ptrdiff_t rows = left < FM_SUM_ROWS ? left : FM_SUM_ROWS;
#define FM_ACCUMULATE(d)                                                                           \
    accumulate_few(x, block, start, rows, w, grid, d, added, removed, sums, scratch)
        switch (grid->d) {
        case 1: FM_ACCUMULATE(1); break;
        case 2: FM_ACCUMULATE(2); break;
        case 3: FM_ACCUMULATE(3); break;
        case 4: FM_ACCUMULATE(4); break;
        default: FM_ACCUMULATE(grid->d);
        }
#undef FM_ACCUMULATE
    }
}

/* out[i] = |y_i - c_label(i)|^2 by differences in float64; relative error at most (d + 3) 2^-53. */
static void residuals(const fm_matrix *x, const fm_block *block, const fm_grid *grid,
                      const double *c, const int32_t *labels, double *out, double *scratch)
{
    for (ptrdiff_t i = 0; i < block->count; i++) {
        centered_row(x, grid, grid->d, block_row(x, block, i), scratch);
        out[i] = square_distance(scratch, c + grid->d * labels[i], grid->d);
    }
}

/* total[0], total[1] += w v on the grids of one column: exact, in any order. */
static void add_exact(const double *v, const double *w, ptrdiff_t count, double coarse, double fine,
                      double *total)
{
    double high = total[0], low = total[1];
    for (ptrdiff_t i = 0; i < count; i++) {
        const double value = w ? w[i] * v[i] : v[i];
        const double q1 = (value + coarse) - coarse;
        high += q1;
        low += ((value - q1) + fine) - fine;
    }
    total[0] = high;
    total[1] = low;
}
