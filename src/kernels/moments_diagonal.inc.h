/* SPDX-License-Identifier: BSD-3-Clause */
/* Weighted moments of one component over a list of rows, where no products of two columns are
 * wanted; conventions of moments.inc.h.
 *
 *     diagonal:   first_j += r_n y_nj,  second_j += r_n y_nj^2, the square rounded
 *     spherical:  second += r_n |y_n|^2, from the squares of the block's rows     tied: first alone.
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
            const real *from = y + list[n] * stride + v * FM_LANES;
            const vec row = own ? fm_load_once(from) : fm_load(from);
            sum[v] += fm_broadcast(r[n]) * row;
            if (own)
                square[v] += fm_broadcast(r[n]) * fm_rounded(row * row);
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
    const ptrdiff_t pair = 2 * FM_LANES;
#define FM_COLUMNS(vectors, weight)                                                                \
    diagonal_columns(y + j, stride, list, r, count, vectors, squares, weight, first + j,           \
                     second && !squares ? second + j : second)
    ptrdiff_t j = 0;
    if (stride >= group) {
        FM_COLUMNS(FM_DIAGONAL_VECTORS, weight);
        for (j = group; j + group <= stride; j += group)
            FM_COLUMNS(FM_DIAGONAL_VECTORS, NULL);
    } else if (stride >= pair) {
        FM_COLUMNS(2, weight);
        j = pair;
    } else {
        FM_COLUMNS(1, weight);
        j = FM_LANES;
    }
    for (; j + pair <= stride; j += pair)
        FM_COLUMNS(2, NULL);
    for (; j < stride; j += FM_LANES)
        FM_COLUMNS(1, NULL);
#undef FM_COLUMNS
}

/* Without the weight: add_lanes. */
static void moments_diagonal(const double *y, ptrdiff_t d, const int32_t *list, const double *r,
                             ptrdiff_t count, double *first, double *second)
{
    diagonal_all(y, d, list, r, count, NULL, NULL, first, second);
}

/* Components that share a row and its squares, one vector of columns, in registers. */
#if FM_VECTOR_BYTES == 64 || defined(__aarch64__)
#define FM_DIAGONAL_TOGETHER 12
#else
#define FM_DIAGONAL_TOGETHER 6
#endif

/* A vector of columns of y, first and second for `together` components, a constant, over all rows. */
FM_INLINE void every_columns(const double *restrict y, ptrdiff_t stride, const double *restrict r,
                             ptrdiff_t r_stride, ptrdiff_t count, int together,
                             double *restrict first, double *restrict second)
{
    vec sum[FM_DIAGONAL_TOGETHER], square[FM_DIAGONAL_TOGETHER];
    FM_UNROLL
    for (int c = 0; c < together; c++) {
        sum[c] = fm_load(first + c * stride);
        square[c] = fm_load(second + c * stride);
    }
    for (ptrdiff_t n = 0; n < count; n++, y += stride) {
        const vec row = fm_load(y), row_square = fm_rounded(row * row);
        FM_UNROLL
        for (int c = 0; c < together; c++) {
            const vec share = fm_broadcast(r[c * r_stride + n]);
            sum[c] += share * row;
            square[c] += share * row_square;
        }
    }
    FM_UNROLL
    for (int c = 0; c < together; c++) {
        fm_store(first + c * stride, sum[c]);
        fm_store(second + c * stride, square[c]);
    }
}

/* Where nearly every row has a share of nearly every component: k of them, without lists.  A row
 * with r = 0 changes no bit.  Weights in lanes of rows: in the order of the rows they take an addition
 * for every pair, at d = 32 an eighth as many as the columns do multiply-adds.  Cycles for 8 pairs at
 * d = 32, K = 64, 64 rows, of which the multiply-adds are 32: 45 with that order and 6 components
 * times two vectors of columns, 39 so (Sapphire Rapids). */
static void diagonal_every(const double *y, ptrdiff_t d, const double *r, ptrdiff_t r_stride,
                           ptrdiff_t k, ptrdiff_t count, double *lanes, double *first,
                           double *second)
{
    const ptrdiff_t stride = FM_MOMENT_STRIDE(d);
    ptrdiff_t j = 0;
#define FM_COMPONENTS(together)                                                                    \
    for (; j + together <= k; j += together) {                                                     \
        for (ptrdiff_t t = 0; t < stride; t += FM_LANES)                                           \
            every_columns(y + t, stride, r + j * r_stride, r_stride, count, together,              \
                          first + j * stride + t, second + j * stride + t);                        \
        for (ptrdiff_t c = j; c < j + together; c++)                                               \
            add_lanes(r + c * r_stride, NULL, count, lanes + 16 * c);                              \
    }
    FM_COMPONENTS(FM_DIAGONAL_TOGETHER)
    FM_COMPONENTS(4)
    FM_COMPONENTS(2)
    FM_COMPONENTS(1)
#undef FM_COMPONENTS
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
