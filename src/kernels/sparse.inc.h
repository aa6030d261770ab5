/* SPDX-License-Identifier: BSD-3-Clause */
/* Rows of a CSR matrix: the same statistics and distances from their non-zero elements, in
 * float64 and without a pivot, which would fill the rows.
 *
 * A row is unpacked first, whatever the types of its indices and elements: element i has column
 * column[i] and value y[i], already multiplied by the scale.  Centres are transposed, ct[t][j] with
 * k padded to a multiple of 4, so that j is in the lanes.
 */

static void sparse_unpack(const fm_csr *x, ptrdiff_t row, double scale, ptrdiff_t *column,
                          double *y, ptrdiff_t *count)
{
    ptrdiff_t from, to;
    if (x->index_size == 4) {
        from = ((const int32_t *)x->starts)[row];
        to = ((const int32_t *)x->starts)[row + 1];
        for (ptrdiff_t i = from; i < to; i++)
            column[i - from] = ((const int32_t *)x->columns)[i];
    } else {
        from = (ptrdiff_t)((const int64_t *)x->starts)[row];
        to = (ptrdiff_t)((const int64_t *)x->starts)[row + 1];
        for (ptrdiff_t i = from; i < to; i++)
            column[i - from] = (ptrdiff_t)((const int64_t *)x->columns)[i];
    }
    *count = to - from;
    /* The next row, which is probably asked for next: a fit of plain scans in 1.4 instead of 1.6 s
     * (100 entries in each of 100,000 rows, Zen 4). */
    const char *columns = (const char *)x->columns + to * x->index_size;
    const char *elements = x->elements + to * x->element_size;
    for (ptrdiff_t b = 0; b < *count * x->index_size; b += 64)
        __builtin_prefetch(columns + b);
    for (ptrdiff_t b = 0; b < *count * x->element_size; b += 64)
        __builtin_prefetch(elements + b);
    load_run_f64(x->elements + from * x->element_size, x->element_size, x->type, x->swapped, *count,
                 y);
    for (ptrdiff_t i = 0; i < *count; i++)
        y[i] *= scale;
}

/* score[j] = bias[j] + sum_i y_i ct[column_i][j]: for bias -|c_j|^2 / 2 the score of
 * assign.inc.h. */
static void sparse_scores(const ptrdiff_t *column, const double *y, ptrdiff_t count,
                          const double *ct, const double *bias, ptrdiff_t padded, double *score)
{
    ptrdiff_t j = 0;
    for (; j + 16 <= padded; j += 16) {
        v4 a = *(const v4 *)(bias + j), b = *(const v4 *)(bias + j + 4);
        v4 c = *(const v4 *)(bias + j + 8), e = *(const v4 *)(bias + j + 12);
        for (ptrdiff_t i = 0; i < count; i++) {
            const double *center = ct + column[i] * padded + j;
            a += y[i] * *(const v4 *)center;
            b += y[i] * *(const v4 *)(center + 4);
            c += y[i] * *(const v4 *)(center + 8);
            e += y[i] * *(const v4 *)(center + 12);
        }
        *(v4 *)(score + j) = a;
        *(v4 *)(score + j + 4) = b;
        *(v4 *)(score + j + 8) = c;
        *(v4 *)(score + j + 12) = e;
    }
    for (; j < padded; j += 4) {
        v4 a = *(const v4 *)(bias + j);
        for (ptrdiff_t i = 0; i < count; i++)
            a += y[i] * *(const v4 *)(ct + column[i] * padded + j);
        *(v4 *)(score + j) = a;
    }
}

/* The same of one centre c, with the same bits. */
static double sparse_score(const ptrdiff_t *column, const double *y, ptrdiff_t count,
                           const double *c, double bias)
{
    double sum = bias;
    for (ptrdiff_t i = 0; i < count; i++)
        sum += y[i] * c[column[i]];
    return sum;
}

/* sum_i y_i^2 */
static double sparse_square(const double *y, ptrdiff_t count)
{
    double sum = 0;
    for (ptrdiff_t i = 0; i < count; i++)
        sum += y[i] * y[i];
    return sum;
}

/* |y - c|^2 = |c|^2 + sum_i ((y_i - c_i)^2 - c_i^2) */
static double sparse_residual(const ptrdiff_t *column, const double *y, ptrdiff_t count,
                              const double *c, double norm)
{
    double sum = norm;
    for (ptrdiff_t i = 0; i < count; i++) {
        const double center = c[column[i]], gap = y[i] - center;
        sum += gap * gap - center * center;
    }
    return sum > 0 ? sum : 0;
}

/* out[j] of eight centres at once, panel (d, 8): the bits of sparse_residual.  0.17 ns an entry and
 * centre instead of 1.3 (Zen 4, 100 entries of 10,000 columns). */
static void sparse_residuals(const ptrdiff_t *column, const double *y, ptrdiff_t count,
                             const double *panel, const double *norms, double *out)
{
    v4 low = *(const v4 *)norms, high = *(const v4 *)(norms + 4);
    for (ptrdiff_t i = 0; i < count; i++) {
        const v4 a = *(const v4 *)(panel + 8 * column[i]);
        const v4 b = *(const v4 *)(panel + 8 * column[i] + 4);
        const v4 to_a = y[i] - a, to_b = y[i] - b;
        low += to_a * to_a - a * a;
        high += to_b * to_b - b * b;
    }
    for (int j = 0; j < 4; j++) {
        out[j] = low[j] > 0 ? low[j] : 0;
        out[j + 4] = high[j] > 0 ? high[j] : 0;
    }
}

/* sums of one cluster += sign * statistics of the row (sums.inc.h). */
static void sparse_accumulate(const ptrdiff_t *column, const double *y, ptrdiff_t count, double w,
                              const fm_grid *grid, double sign, double *sums)
{
    const ptrdiff_t d = grid->d;
    const double square = sparse_square(y, count);
    for (ptrdiff_t i = 0; i < count + 2; i++) {
        const ptrdiff_t t = i < count ? column[i] : d + i - count;
        const double v = w * (i < count ? y[i] : i == count ? 1 : square);
        const double q1 = (v + grid->coarse[t]) - grid->coarse[t];
        const double q2 = ((v - q1) + grid->fine[t]) - grid->fine[t];
        sums[t] += sign * q1;
        sums[grid->stride + t] += sign * q2;
    }
}
