/* SPDX-License-Identifier: BSD-3-Clause */
/* Weighted moments of one component over a list of rows, where no products of two columns are
 * wanted; conventions of moments.inc.h.
 *
 *     diagonal:   second_j += y_nj s_nj          spherical, tied:  first alone
 *     spherical:  second += r_n |y_n|^2, from the squares of the block's rows.
 */
#define FM_DIAGONAL_VECTORS 4

/* weight NULL: counted already.  Its chain and that of the squares cost nothing beside the columns',
 * but 4 cycles a row each alone.  second, squares: one of them, or NULL. */
FM_INLINE void diagonal_columns(const double *restrict y, ptrdiff_t stride,
                                const int32_t *restrict list, const double *restrict r,
                                ptrdiff_t count, int vectors, const double *restrict squares,
                                double *restrict weight, double *restrict first,
                                double *restrict second)
{
    const int own = second && !squares;
    double total = weight ? *weight : 0, norm = squares && weight ? *second : 0;
    vec sum[FM_DIAGONAL_VECTORS], square[FM_DIAGONAL_VECTORS];
    for (int v = 0; v < vectors; v++) {
        sum[v] = fm_load(first + v * FM_LANES);
        square[v] = own ? fm_load(second + v * FM_LANES) : (vec){0};
    }
    for (ptrdiff_t n = 0; n < count; n++) {
        for (int v = 0; v < vectors; v++) {
            const vec row = fm_load(y + list[n] * stride + v * FM_LANES);
            const vec s = fm_rounded(fm_broadcast(r[n]) * row);
            sum[v] += s;
            if (own)
                square[v] += row * s;
        }
        if (weight)
            total += r[n];
        if (weight && squares)
            norm += r[n] * squares[list[n]];
    }
    for (int v = 0; v < vectors; v++) {
        fm_store(first + v * FM_LANES, sum[v]);
        if (own)
            fm_store(second + v * FM_LANES, square[v]);
    }
    if (weight)
        *weight = total;
    if (weight && squares)
        *second = norm;
}

/* All columns, the first ones with the weight; what is NULL is known to the compiler. */
FM_INLINE void diagonal_all(const double *y, ptrdiff_t d, const int32_t *list, const double *r,
                            ptrdiff_t count, const double *squares, double *weight, double *first,
                            double *second)
{
    const ptrdiff_t stride = FM_MOMENT_STRIDE(d), group = FM_DIAGONAL_VECTORS * FM_LANES;
#define FM_COLUMNS(vectors, weight)                                                                \
    diagonal_columns(y + j, stride, list, r, count, vectors, squares, weight, first + j,           \
                     second && !squares ? second + j : second)
    ptrdiff_t j = 0;
    if (stride >= group) {
        FM_COLUMNS(FM_DIAGONAL_VECTORS, weight);
        for (j = group; j + group <= stride; j += group)
            FM_COLUMNS(FM_DIAGONAL_VECTORS, NULL);
    } else {
        FM_COLUMNS(1, weight);
        j = FM_LANES;
    }
    for (; j < stride; j += FM_LANES)
        FM_COLUMNS(1, NULL);
#undef FM_COLUMNS
}

static void moments_diagonal(const double *y, ptrdiff_t d, const int32_t *list, const double *r,
                             ptrdiff_t count, double *weight, double *first, double *second)
{
    diagonal_all(y, d, list, r, count, NULL, weight, first, second);
}

/* squares: |y_i|^2 of the block's rows, or NULL: weight and first alone. */
static void moments_spherical(const double *y, ptrdiff_t d, const int32_t *list, const double *r,
                              ptrdiff_t count, const double *squares, double *weight, double *first,
                              double *second)
{
    if (squares)
        diagonal_all(y, d, list, r, count, squares, weight, first, second);
    else
        diagonal_all(y, d, list, r, count, NULL, weight, first, NULL);
}

/* out[i] = |y_i|^2: eight chains, t modulo 8, added up in one fixed order. */
static void square_rows(const double *y, ptrdiff_t d, ptrdiff_t count, double *out)
{
    const ptrdiff_t stride = FM_MOMENT_STRIDE(d);
    const vec zero = fm_broadcast(fm_opaque(0));
    for (ptrdiff_t i = 0; i < count; i++, y += stride) {
        vec acc[8 / FM_LANES];
        for (int v = 0; v < 8 / FM_LANES; v++)
            acc[v] = zero;
        for (ptrdiff_t t = 0; t < stride; t += 8)
            for (int v = 0; v < 8 / FM_LANES; v++) {
                const vec row = fm_load(y + t + v * FM_LANES);
                acc[v] += row * row;
            }
        const double *lane = (const double *)acc;
        out[i] = ((lane[0] + lane[4]) + (lane[2] + lane[6])) +
                 ((lane[1] + lane[5]) + (lane[3] + lane[7]));
    }
}
