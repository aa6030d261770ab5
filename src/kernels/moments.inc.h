/* SPDX-License-Identifier: BSD-3-Clause */
/* Weighted moments of one component over a list of rows (PRML 9.17 to 9.19), in float64:
 *
 *     weight += r_n,   first_j += s_nj,   second_ij += y_ni s_nj (i >= j),   s_nj = r_n y_nj,
 *
 * s rounded; one chain of additions or fused multiply-adds per entry, in the order of the list.
 * A chain goes on from what memory holds, so neither blocks nor the vectors over j change a bit; a
 * row with r = 0 would not either.  Error of an entry: (m + 1) u sum_n |r_n y_ni y_nj| after m rows.
 *
 * y: rows of `stride` doubles, stride = FM_MOMENT_STRIDE(d), zero from d on.
 * second: row i of the triangle is second + FM_SECOND_ROW(i): its 8 (i / 8 + 1) first columns.
 * Entries right of the diagonal are sums too, but not all are kept up.
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

/* A vector loaded into a register: GCC reads it again for every use, and one load
 * a cycle bounds the moments of few columns (d = 2: 8.8 cycles for 8 rows, 5.4 so; Zen 4). */
#if defined(__AVX__) || defined(__aarch64__)
#define fm_load_once(from) fm_rounded(fm_load(from))
#else
#define fm_load_once(from) fm_load(from)
#endif

/* Rows [0, rows) of the block at y's column 0, its matrix rows `step` doubles apart; rows and
 * vectors are constants. */
FM_INLINE void second_block(const double *restrict y, ptrdiff_t stride,
                            const int32_t *restrict list, ptrdiff_t count,
                            const double *restrict scaled, ptrdiff_t scaled_stride, int rows,
                            int vectors, double *restrict second, ptrdiff_t step)
{
    vec acc[FM_MOMENT_ROWS][FM_MOMENT_VECTORS];
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++)
            acc[i][v] = fm_load(second + i * step + v * FM_LANES);
    for (ptrdiff_t n = 0; n < count; n++, scaled += scaled_stride) {
        const double *row = y + list[n] * stride;
        /* One address: GCC adds up one for each of the entries, 8 of 50 instructions. */
        __asm__("" : "+r"(row));
        vec s[FM_MOMENT_VECTORS];
        for (int v = 0; v < vectors; v++)
            s[v] = fm_load(scaled + v * FM_LANES);
        for (int i = 0; i < rows; i++)
            for (int v = 0; v < vectors; v++)
                acc[i][v] += fm_broadcast(row[i]) * s[v];
    }
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vectors; v++)
            fm_store(second + i * step + v * FM_LANES, acc[i][v]);
}

#if FM_VECTOR_BYTES != 64
/* s of `vectors` vectors of columns for all rows of the list, and the first moments of these; and
 * the weight, whose chain of additions costs nothing beside them, but 4 cycles a row alone. */
FM_INLINE void scale_rows(const double *restrict y, ptrdiff_t stride, const int32_t *restrict list,
                          const double *restrict r, ptrdiff_t count, int vectors,
                          double *restrict scaled, double *restrict weight, double *restrict first)
{
    double total = *weight;
    vec acc[FM_MOMENT_VECTORS];
    for (int v = 0; v < vectors; v++)
        acc[v] = fm_load(first + v * FM_LANES);
    for (ptrdiff_t n = 0; n < count; n++) {
        for (int v = 0; v < vectors; v++, scaled += FM_LANES) {
            const vec s =
                fm_rounded(fm_broadcast(r[n]) * fm_load(y + list[n] * stride + v * FM_LANES));
            fm_store(scaled, s);
            acc[v] += s;
        }
        total += r[n];
    }
    *weight = total;
    for (int v = 0; v < vectors; v++)
        fm_store(first + v * FM_LANES, acc[v]);
}
#else
/* The same of the columns from 8 b on, and their triangle's first 16 rows in the same pass: 24
 * accumulators, for the tables with 32 registers of eight doubles.  d = 32 to 128 take 0.85 to 0.93
 * of the time that they take with passes of their own for scaling and 8 rows (Emerald Rapids).
 * kept, a constant: whether scaled is wanted. */
FM_INLINE void second_corner(const double *restrict y, ptrdiff_t stride,
                             const int32_t *restrict list, const double *restrict r,
                             ptrdiff_t count, ptrdiff_t b, int vectors, int kept,
                             double *restrict scaled, double *restrict weight,
                             double *restrict first, double *restrict second)
{
    const int blocks = vectors < 2 ? vectors : 2;
    const ptrdiff_t step[2] = {8 * (b + 1), 8 * (b + 2)};
    double *const to[2] = {second + FM_SECOND_ROW(8 * b) + 8 * b,
                           second + FM_SECOND_ROW(8 * (b + 1)) + 8 * b};
    double total = *weight;
    vec acc[16][2], sum[3];
    for (int v = 0; v < vectors; v++)
        sum[v] = fm_load(first + 8 * v);
    FM_UNROLL
    for (int i = 0; i < 8 * blocks; i++) {
        FM_UNROLL
        for (int v = 0; v <= i / 8; v++)
            acc[i][v] = fm_load(to[i / 8] + i % 8 * step[i / 8] + 8 * v);
    }
    for (ptrdiff_t n = 0; n < count; n++) {
        const double *row = y + list[n] * stride;
        __asm__("" : "+r"(row));
        const vec share = fm_broadcast(r[n]);
        vec s[3];
        FM_UNROLL
        for (int v = vectors - 1; v >= 0; v--) {
            s[v] = fm_rounded(share * fm_load(row + 8 * v));
            sum[v] += s[v];
            if (kept)
                fm_store(scaled + 8 * (vectors * n + v), s[v]);
        }
        FM_UNROLL
        for (int i = 0; i < 8 * blocks; i++) {
            FM_UNROLL
            for (int v = 0; v <= i / 8; v++)
                acc[i][v] += fm_broadcast(row[i]) * s[v];
        }
        total += r[n];
    }
    *weight = total;
    for (int v = 0; v < vectors; v++)
        fm_store(first + 8 * v, sum[v]);
    FM_UNROLL
    for (int i = 0; i < 8 * blocks; i++) {
        FM_UNROLL
        for (int v = 0; v <= i / 8; v++)
            fm_store(to[i / 8] + i % 8 * step[i / 8] + 8 * v, acc[i][v]);
    }
}
#endif

#if FM_MOMENT_VECTORS == 6
#define FM_MOMENT_WIDTHS(width, call)                                                              \
    switch (width) {                                                                               \
    case 1: call(1); break;                                                                        \
    case 2: call(2); break;                                                                        \
    case 3: call(3); break;                                                                        \
    case 4: call(4); break;                                                                        \
    case 5: call(5); break;                                                                        \
    default: call(6);                                                                              \
    }
#else
#define FM_MOMENT_WIDTHS(width, call)                                                              \
    switch (width) {                                                                               \
    case 1: call(1); break;                                                                        \
    case 2: call(2); break;                                                                        \
    default: call(FM_MOMENT_VECTORS);                                                              \
    }
#endif

/* The triangle's rows in the columns [column, column + vectors). */
static void second_columns(const double *y, ptrdiff_t d, const int32_t *list, const double *r,
                           ptrdiff_t count, ptrdiff_t column, ptrdiff_t vectors, double *weight,
                           double *first, double *second, double *scaled)
{
    double ignored = 0;
    const ptrdiff_t stride = FM_MOMENT_STRIDE(d), width = vectors * FM_LANES;
#if FM_VECTOR_BYTES == 64
#define FM_SCALE(v)                                                                                \
    second_corner(y + column, stride, list, r, count, column / 8, v, 1, scaled,                    \
                  column ? &ignored : weight, first + column, second)
    const ptrdiff_t below = column + 16;
#else
#define FM_SCALE(v)                                                                                \
    scale_rows(y + column, stride, list, r, count, v, scaled, column ? &ignored : weight,          \
               first + column)
    const ptrdiff_t below = column;
#endif
    FM_MOMENT_WIDTHS(vectors, FM_SCALE)
#undef FM_SCALE
    for (ptrdiff_t i = below; i < d; i += FM_MOMENT_ROWS) {
        const ptrdiff_t step = 8 * (i / 8 + 1);
        double *to = second + FM_SECOND_ROW(i) + column;
        const ptrdiff_t reach = (i + FM_MOMENT_ROWS - column + FM_LANES - 1) / FM_LANES;
        const ptrdiff_t used = reach < vectors ? reach : vectors;
#define FM_BLOCK(v)                                                                                \
    second_block(y + i, stride, list, count, scaled, width, FM_MOMENT_ROWS, v, to, step)
#define FM_HALF(v)                                                                                 \
    second_block(y + i, stride, list, count, scaled, width, FM_MOMENT_ROWS / 2, v, to, step)
#define FM_QUARTER(v)                                                                              \
    second_block(y + i, stride, list, count, scaled, width, FM_MOMENT_ROWS / 4, v, to, step)
        if (4 * (d - i) <= FM_MOMENT_ROWS)
            FM_MOMENT_WIDTHS(used, FM_QUARTER)
        else if (2 * (d - i) <= FM_MOMENT_ROWS)
            FM_MOMENT_WIDTHS(used, FM_HALF)
        else
            FM_MOMENT_WIDTHS(used, FM_BLOCK)
#undef FM_BLOCK
#undef FM_HALF
#undef FM_QUARTER
    }
}

static void moments_full(const double *y, ptrdiff_t d, const int32_t *list, const double *r,
                         ptrdiff_t count, double *weight, double *first, double *second,
                         double *scratch)
{
    const ptrdiff_t vectors = FM_MOMENT_STRIDE(d) / FM_LANES;
#if FM_VECTOR_BYTES == 64
    if (d <= 8) {
        second_corner(y, 8, list, r, count, 0, 1, 0, NULL, weight, first, second);
        return;
    }
    if (d <= 16) {
        second_corner(y, 16, list, r, count, 0, 2, 0, NULL, weight, first, second);
        return;
    }
#endif
    for (; count > 0; count -= FM_MOMENT_LIST, list += FM_MOMENT_LIST, r += FM_MOMENT_LIST) {
        const ptrdiff_t rows = count < FM_MOMENT_LIST ? count : FM_MOMENT_LIST;
        for (ptrdiff_t v = 0; v < vectors; v += FM_MOMENT_VECTORS) {
            const ptrdiff_t left = vectors - v;
            second_columns(y, d, list, r, rows, v * FM_LANES,
                           left < FM_MOMENT_VECTORS ? left : FM_MOMENT_VECTORS, weight, first,
                           second, scratch);
        }
    }
}
#undef FM_MOMENT_WIDTHS
