/* SPDX-License-Identifier: BSD-3-Clause */
/* Weighted moments of one component over a list of rows (PRML 9.17 to 9.19), in float64:
 *
 *     weight += r_n,   first_j += s_nj,   second_ij += y_ni s_nj (i >= j),   s_nj = r_n y_nj rounded,
 *
 * one chain of additions or fused multiply-adds per entry, over the list in its order.  A chain goes
 * on from what memory holds, so neither blocks nor the vectors over j change a bit; a row with
 * r = 0 would not either.  Error of an entry: (m + 1) u sum_n |r_n y_ni y_nj| after m rows.
 *
 * y: rows of `stride` doubles, stride = FM_MOMENT_STRIDE(d), zero from d on.
 * second: row i of the triangle is second + 32 b (b + 1) + (i mod 8) 8 (b + 1), b = i / 8: its
 * 8 (b + 1) first columns.  Entries right of the diagonal are sums too, but not all are kept up.
 */

/* Register block: MOMENT_ROWS rows of the matrix x MOMENT_VECTORS vectors of its columns. */
#if FM_VECTOR_BYTES == 64
#define FM_MOMENT_ROWS 8
#define FM_MOMENT_VECTORS 3
#elif defined(__aarch64__)
#define FM_MOMENT_ROWS 4
#define FM_MOMENT_VECTORS 6
#elif FM_VECTOR_BYTES == 32
#define FM_MOMENT_ROWS 4
#define FM_MOMENT_VECTORS 3
#else
#define FM_MOMENT_ROWS 4
#define FM_MOMENT_VECTORS 2
#endif

#define FM_AT_MOST(vectors) ((vectors) < FM_MOMENT_VECTORS ? (vectors) : FM_MOMENT_VECTORS)

/* Rows [0, FM_MOMENT_ROWS) of the block at y's column 0, its matrix rows `step` doubles apart. */
FM_INLINE void second_block(const double *restrict y, ptrdiff_t stride,
                            const int32_t *restrict list, ptrdiff_t count,
                            const double *restrict scaled, ptrdiff_t scaled_stride, int vectors,
                            double *restrict second, ptrdiff_t step)
{
    vec acc[FM_MOMENT_ROWS][FM_MOMENT_VECTORS];
    for (int i = 0; i < FM_MOMENT_ROWS; i++)
        for (int v = 0; v < vectors; v++)
            acc[i][v] = fm_load(second + i * step + v * FM_LANES);
    for (ptrdiff_t n = 0; n < count; n++, scaled += scaled_stride) {
        const double *row = y + list[n] * stride;
        vec s[FM_MOMENT_VECTORS];
        for (int v = 0; v < vectors; v++)
            s[v] = fm_load(scaled + v * FM_LANES);
        for (int i = 0; i < FM_MOMENT_ROWS; i++)
            for (int v = 0; v < vectors; v++)
                acc[i][v] += fm_broadcast(row[i]) * s[v];
    }
    for (int i = 0; i < FM_MOMENT_ROWS; i++)
        for (int v = 0; v < vectors; v++)
            fm_store(second + i * step + v * FM_LANES, acc[i][v]);
}

/* s of `vectors` vectors of columns for all rows of the list, and the first moments of these.  An
 * addition first + s could be fused with the product that s is, or not; 1 s + first, with an opaque
 * 1, has one reading. */
FM_INLINE void scale_rows(const double *restrict y, ptrdiff_t stride, const int32_t *restrict list,
                          const double *restrict r, ptrdiff_t count, int vectors,
                          double *restrict scaled, double *restrict first)
{
    const vec one = fm_broadcast(fm_opaque(1));
    vec acc[FM_MOMENT_VECTORS];
    for (int v = 0; v < vectors; v++)
        acc[v] = fm_load(first + v * FM_LANES);
    for (ptrdiff_t n = 0; n < count; n++)
        for (int v = 0; v < vectors; v++, scaled += FM_LANES) {
            const vec s = fm_broadcast(r[n]) * fm_load(y + list[n] * stride + v * FM_LANES);
            fm_store(scaled, s);
            acc[v] += one * s;
        }
    for (int v = 0; v < vectors; v++)
        fm_store(first + v * FM_LANES, acc[v]);
}

/* Columns [column, column + vectors) of the triangle. */
FM_INLINE void second_columns(const double *restrict y, ptrdiff_t d, const int32_t *restrict list,
                              const double *restrict r, ptrdiff_t count, ptrdiff_t column,
                              int vectors, double *restrict first, double *restrict second,
                              double *restrict scaled)
{
    const ptrdiff_t stride = FM_MOMENT_STRIDE(d), width = vectors * FM_LANES;
    scale_rows(y + column, stride, list, r, count, vectors, scaled, first + column);
    for (ptrdiff_t i = column / FM_MOMENT_ROWS * FM_MOMENT_ROWS; i < d; i += FM_MOMENT_ROWS) {
        const ptrdiff_t b = i / 8, step = 8 * (b + 1);
        double *to = second + 32 * b * (b + 1) + i % 8 * step + column;
        const ptrdiff_t reach = (i + FM_MOMENT_ROWS - column + FM_LANES - 1) / FM_LANES;
#define FM_BLOCK(used)                                                                             \
    second_block(y + i, stride, list, count, scaled, width, FM_AT_MOST(used), to, step);           \
    break
        switch (reach < vectors ? reach : vectors) {
        case 1: FM_BLOCK(1);
        case 2: FM_BLOCK(2);
        case 3: FM_BLOCK(3);
        case 4: FM_BLOCK(4);
        case 5: FM_BLOCK(5);
        default: FM_BLOCK(6);
        }
#undef FM_BLOCK
    }
}

FM_INLINE double add_all(const double *r, ptrdiff_t count, double sum)
{
    for (ptrdiff_t n = 0; n < count; n++)
        sum += r[n];
    return sum;
}

/* scratch: FM_MOMENT_SCRATCH doubles. */
static void moments_full(const double *y, ptrdiff_t d, const int32_t *list, const double *r,
                         ptrdiff_t count, double *weight, double *first, double *second,
                         double *scratch)
{
    *weight = add_all(r, count, *weight);
    for (; count > 0; count -= FM_MOMENT_LIST, list += FM_MOMENT_LIST, r += FM_MOMENT_LIST) {
        const ptrdiff_t rows = count < FM_MOMENT_LIST ? count : FM_MOMENT_LIST;
        const ptrdiff_t vectors = FM_MOMENT_STRIDE(d) / FM_LANES;
        for (ptrdiff_t v = 0; v < vectors; v += FM_MOMENT_VECTORS) {
#define FM_COLUMNS(width)                                                                          \
    second_columns(y, d, list, r, rows, v * FM_LANES, FM_AT_MOST(width), first, second, scratch);  \
    break
            switch (vectors - v < FM_MOMENT_VECTORS ? vectors - v : FM_MOMENT_VECTORS) {
            case 1: FM_COLUMNS(1);
            case 2: FM_COLUMNS(2);
            case 3: FM_COLUMNS(3);
            case 4: FM_COLUMNS(4);
            case 5: FM_COLUMNS(5);
            default: FM_COLUMNS(6);
            }
#undef FM_COLUMNS
        }
    }
}
