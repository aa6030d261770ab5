/* SPDX-License-Identifier: BSD-3-Clause */
/* Running means: S_j = sum w x, W_j = sum w and mu_j = S_j / W_j of the rows that cluster j has met.
 *
 * S and W are unevaluated sums of two float64, high + low with |low| <= ulp(high) / 2 (Dekker, "A
 * floating-point technique for extending the available precision", 1971; Knuth's TwoSum).  An
 * addition is off by at most 2^-104 of the sum and addend, so that mu_j is the exact mean of n rows,
 * rounded once, unless that is within n 2^-103 sum w |x| / W of half-way between two float64.  The
 * products w x are exact while they and their parts stay normal.
 *
 * This unit is compiled with -ffp-contract=off: products split by Dekker's method have the same bits
 * for every ISA.
 */

/* high + low = a + b. */
FM_INLINE void two_sum(double a, double b, double *high, double *low)
{
    const double sum = a + b, part = sum - a;
    *low = (a - (sum - part)) + (b - part);
    *high = sum;
}

/* high + low = a b, with halves of 26 bits (Veltkamp's splitting). */
FM_INLINE void two_product(double a, double b, double *high, double *low)
{
    const double product = a * b;
    const double a_big = a * 134217729.0, b_big = b * 134217729.0; /* 2^27 + 1 */
    const double a_high = a_big - (a_big - a), b_high = b_big - (b_big - b);
    const double a_low = a - a_high, b_low = b - b_high;
    *low = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
    *high = product;
}

/* high + low += value + rest, renormalised. */
FM_INLINE void add_two(double *high, double *low, double value, double rest)
{
    double sum, error;
    two_sum(*high, value, &sum, &error);
    error += *low + rest;
    *high = sum + error;
    *low = error - (*high - sum);
}

FM_INLINE void add_weighted(double *restrict high, double *restrict low, const double *restrict y,
                            double w, ptrdiff_t d)
{
    if (w == 1)
        for (ptrdiff_t t = 0; t < d; t++)
            add_two(high + t, low + t, y[t], 0);
    else
        for (ptrdiff_t t = 0; t < d; t++) {
            double product, rest;
            two_product(y[t], w, &product, &rest);
            add_two(high + t, low + t, product, rest);
        }
}

/* One row as x * scale, exactly. */
FM_INLINE void scaled_row(const fm_matrix *x, ptrdiff_t row, double scale, double *restrict y)
{
    load_run_f64(x->data + x->row_stride * row, x->col_stride, x->type, x->swapped, x->d, y);
    if (scale != 1)
        for (ptrdiff_t t = 0; t < x->d; t++)
            y[t] *= scale;
}

static void means_add(const fm_means *m, const fm_matrix *x, const ptrdiff_t *rows, ptrdiff_t count,
                      const double *w, ptrdiff_t j, double *scratch)
{
    const ptrdiff_t d = m->d;
    double *high = m->sums + 2 * d * j, *weights = m->weights + 2 * j;
    for (ptrdiff_t i = 0; i < count; i++) {
        const double weight = w ? w[rows[i]] : 1;
        if (weight == 0)
            continue;
        scaled_row(x, rows[i], m->scale, scratch);
        add_weighted(high, high + d, scratch, weight, d);
        add_two(weights, weights + 1, weight, 0);
    }
}

static void means_add_entries(const fm_means *m, const ptrdiff_t *column, const double *y,
                              ptrdiff_t count, double w, ptrdiff_t j)
{
    double *high = m->sums + 2 * m->d * j;
    for (ptrdiff_t i = 0; i < count; i++)
        add_weighted(high + column[i], high + m->d + column[i], y + i, w, 1);
    add_two(m->weights + 2 * j, m->weights + 2 * j + 1, w, 0);
}

static void means_place(const fm_means *m, const fm_matrix *x, ptrdiff_t row, ptrdiff_t j)
{
    double *center = m->centers + m->d * j;
    scaled_row(x, row, m->scale, center);
    for (ptrdiff_t t = 0; t < m->d; t++)
        center[t] -= m->offset[t];
}

/* mu_j = S_j / W_j, rounded once, and the centre mu_j - offset, off by 2^-105 |mu_j| and rounded
 * once; of a cluster with a weight. */
static void means_update(const fm_means *m, ptrdiff_t j)
{
    const ptrdiff_t d = m->d;
    const double *restrict high = m->sums + 2 * d * j, *restrict low = high + d;
    const double *restrict offset = m->offset;
    double *restrict mean = m->means + d * j, *restrict center = m->centers + d * j;
    const double weight = m->weights[2 * j], weight_low = m->weights[2 * j + 1];
    if (!(weight > 0))
        return;
    for (ptrdiff_t t = 0; t < d; t++) {
        double product, rest, gap, error;
        const double quotient = high[t] / weight;
        two_product(quotient, weight, &product, &rest);
        const double left = ((high[t] - product) - rest) + (low[t] - quotient * weight_low);
        const double more = left / weight;
        mean[t] = quotient + more;
        two_sum(quotient, -offset[t], &gap, &error);
        center[t] = gap + (error + more);
    }
}

/* S_j = W_j (c_j + offset), and mu_j: of a centre that is not the mean of its rows. */
static void means_restore(const fm_means *m, ptrdiff_t j)
{
    const ptrdiff_t d = m->d;
    double *restrict high = m->sums + 2 * d * j, *restrict low = high + d;
    double *restrict mean = m->means + d * j;
    const double *restrict center = m->centers + d * j, *restrict offset = m->offset;
    const double weight = m->weights[2 * j], weight_low = m->weights[2 * j + 1];
    for (ptrdiff_t t = 0; t < d; t++) {
        double rest, product, error;
        two_sum(center[t], offset[t], mean + t, &rest);
        two_product(mean[t], weight, &product, &error);
        error += rest * weight + mean[t] * weight_low;
        high[t] = product + error;
        low[t] = error - (high[t] - product);
    }
}

static double means_learn(const fm_means *m, const fm_matrix *x, ptrdiff_t row, double w,
                          double step, ptrdiff_t j, double *scratch)
{
    const ptrdiff_t d = m->d;
    double *restrict framed = scratch, *restrict y = scratch + d, *center = m->centers + d * j;
    scaled_row(x, row, m->scale, y);
    for (ptrdiff_t t = 0; t < d; t++)
        framed[t] = y[t] - m->offset[t];
    const double square = square_distance(framed, center, d);
    if (w == 0)
        return square;
    double *weight = m->weights + 2 * j;
    add_two(weight, weight + 1, w, 0);
    if (step < 0) {
        double *high = m->sums + 2 * d * j;
        add_weighted(high, high + d, y, w, d);
        means_update(m, j);
    } else {
        for (ptrdiff_t t = 0; t < d; t++) {
            const double moved = center[t] + step * (framed[t] - center[t]);
            center[t] = step == 1 ? framed[t] : moved;
        }
        means_restore(m, j);
    }
    return square;
}
