/* SPDX-License-Identifier: BSD-3-Clause */
/* The units of the grids for the exact sums (kernels/sums.inc.h).
 *
 * For a column whose n addends are at most `largest` in magnitude, B = n * largest <= 2^e:
 *
 *     coarse unit u1 = 2^(e - 51),   fine unit u2 = u1 * 2^(ceil(log2 n) - 52).
 *
 * Then |v| <= 2^51 u1 and |v - q1| <= u1 / 2 <= 2^51 u2, as the rounding by 1.5 * 2^52 u needs, and
 * the sums of |q1| and of |q2| over any rows stay below 2^52 units: sums, and differences of two
 * sums, are exact.  An addend is off by at most u2 / 2 <= 4 n^2 2^-103 largest; the 4 is
 * for n, twice, and largest being rounded up to powers of two.
 */
#include "fm_kernels.h"

#include <math.h>

static double rounder(int exponent)
{
    /* 2^-1074 is the smallest float64: every addend is a multiple of it. */
    return ldexp(1.5, 52 + (exponent > -1074 ? exponent : -1074));
}

void fm_grid_column(double largest, ptrdiff_t n, double *coarse, double *fine)
{
    int rows, bound;
    if (!(largest > 0))
        largest = 1;
    frexp((double)n, &rows); /* n < 2^rows */
    frexp(largest, &bound);
    *coarse = rounder(bound + rows - 51);
    *fine = rounder(bound + rows - 51 + rows - 52);
}

void fm_grid_units(const double *largest, double largest_weight, ptrdiff_t n, ptrdiff_t d,
                   double *coarse, double *fine)
{
    double square = 0;
    for (ptrdiff_t t = 0; t < d; t++) {
        fm_grid_column(largest_weight * largest[t], n, coarse + t, fine + t);
        square += largest[t] * largest[t];
    }
    fm_grid_column(largest_weight, n, coarse + d, fine + d);
    /* The factor covers the rounding of |y|^2 and of the bound itself. */
    fm_grid_column(largest_weight * square * 1.001, n, coarse + d + 1, fine + d + 1);
    for (ptrdiff_t t = d + 2; t < FM_SUM_STRIDE(d); t++)
        fm_grid_column(1, n, coarse + t, fine + t);
}
