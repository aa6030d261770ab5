/* SPDX-License-Identifier: BSD-3-Clause */
/* M-step (PRML 9.17, 9.19) and the triangular factors of the E-step, in float64.
 *
 * Cholesky: Sigma = L L^T, by outer products on U = L^T, so that the inner loop runs along a row.
 * P = L^-1 by forward substitution, a row of P at a time.  ln det P = -sum_i ln L_ii.
 * Backward errors are the usual ones: |Sigma - L L^T| <= (d + 1) u |L| |L^T| and
 * |P L - I| <= (d + 1) u |P| |L| entry by entry (Higham, Accuracy and Stability, 10.3 and 14.1).
 *
 * This unit is compiled with -ffp-contract=off: its bits are the same for every ISA.
 */
#include <float.h>

/* mean = first / weight, covariance = second / weight - mean mean^T, full and symmetric; second as
 * in moments.inc.h, weight > 0. */
static void mean_covariance(double weight, const double *first, const double *second, ptrdiff_t d,
                            double *mean, double *covariance)
{
    for (ptrdiff_t t = 0; t < d; t++)
        mean[t] = first[t] / weight;
    for (ptrdiff_t i = 0; i < d; i++) {
        const double *row = second + FM_SECOND_ROW(i);
        for (ptrdiff_t j = 0; j <= i; j++)
            covariance[i * d + j] = row[j] / weight - mean[i] * mean[j];
        for (ptrdiff_t j = 0; j < i; j++)
            covariance[j * d + i] = covariance[i * d + j];
    }
}

/* The full symmetric (d, d) matrix of second. */
static void unpack_second(const double *second, ptrdiff_t d, double *full)
{
    for (ptrdiff_t i = 0; i < d; i++) {
        const double *row = second + FM_SECOND_ROW(i);
        for (ptrdiff_t j = 0; j <= i; j++)
            full[i * d + j] = full[j * d + i] = row[j];
    }
}

FM_INLINE double log_of(double value)
{
    vec x = fm_broadcast(value);
    FM_NAME(logs)(&x, 1);
    return x[0];
}

/* log of count positive normal numbers. */
static void log_all(const double *x, ptrdiff_t count, double *out)
{
    for (ptrdiff_t i = 0; i < count; i++)
        out[i] = log_of(x[i]);
}

/* P (d, d), lower triangular and zero above, and ln det P of a symmetric covariance, of which the
 * upper triangle is read.  Returns -1, or the first pivot that is not positive and finite, after
 * which P and log_det are undefined.  scratch: (d, d). */
static ptrdiff_t factor(const double *covariance, ptrdiff_t d, double *restrict p, double *log_det,
                        double *restrict u)
{
    double sum = 0;
    for (ptrdiff_t i = 0; i < d; i++)
        for (ptrdiff_t j = i; j < d; j++)
            u[i * d + j] = covariance[i * d + j];
    for (ptrdiff_t t = 0; t < d; t++) {
        double *pivot = u + t * d;
        if (!(pivot[t] >= DBL_MIN && pivot[t] <= DBL_MAX))
            return t;
        const double root = __builtin_sqrt(pivot[t]);
        for (ptrdiff_t j = t; j < d; j++)
            pivot[j] = j > t ? pivot[j] / root : root;
        for (ptrdiff_t i = t + 1; i < d; i++) {
            const double multiple = pivot[i];
            double *restrict row = u + i * d;
            for (ptrdiff_t j = i; j < d; j++)
                row[j] -= multiple * pivot[j];
        }
        sum += log_of(root);
    }
    for (ptrdiff_t i = 0; i < d; i++) {
        double *row = p + i * d;
        for (ptrdiff_t j = 0; j < d; j++)
            row[j] = j == i;
        for (ptrdiff_t t = 0; t < i; t++) {
            const double multiple = u[t * d + i], *done = p + t * d;
            for (ptrdiff_t j = 0; j <= t; j++)
                row[j] -= multiple * done[j];
        }
        const double diagonal = u[i * d + i];
        for (ptrdiff_t j = 0; j <= i; j++)
            row[j] /= diagonal;
    }
    *log_det = -sum;
    return -1;
}

/* out = P x, for the means of tied components: one chain over t. */
static void triangular_product(const double *p, const double *x, ptrdiff_t d, double *out)
{
    for (ptrdiff_t i = 0; i < d; i++) {
        double sum = 0;
        for (ptrdiff_t t = 0; t <= i; t++)
            sum += p[i * d + t] * x[t];
        out[i] = sum;
    }
}
