/* SPDX-License-Identifier: BSD-3-Clause */
/* Squared Mahalanobis distances of rows to one component, through its triangular factor:
 *
 *     out[i] = |P (x_i - mu)|^2 = sum_r y_r^2,   y_r = sum_(t <= r) P_rt (x_it - mu_t),
 *
 * P = L^-1 lower triangular, Sigma = L L^T (the Cholesky route to PRML 9.23).  Differences first,
 * so that a component far from the pivot or nearly singular loses no digits.  One chain of fused
 * multiply-adds over t for y_r, one over r for the sum; rows are in the lanes, as in assign.inc.h.
 * whiten stores y = P x instead, as tiles.
 *
 * Error: |y_r - exact| <= (r + 3) u sum_t |P_rt| |x_t - mu_t|, u = 2^-24 or 2^-53, plus what the
 * rounding of P and mu to the tiles' type does; the sum adds (d + 1) u |y|^2.
 *
 * Panel: [mu: d][for each group of FACTOR_WIDTH rows of P: columns before the group, [t][width],
 * then its triangle by columns], (d (d + 3)) / 2 reals: the last group is narrower, not padded.
 */
#define FM_FACTOR_WIDTH 6

/* Rows [first, first + width) of P, with the tile's columns before `first` in z (differences) and
 * the others in x.  vectors, of rows in a tile, width and whiten are constants.  whiten: y goes to
 * out, and mean is not used; else its squares are added to square. */
FM_INLINE void FM_NAME(factor_group)(const real *restrict x, real *restrict z,
                                     const real *restrict mean, const real *restrict panel,
                                     int vectors, ptrdiff_t first, int width, int more, int whiten,
                                     vec *square, real *restrict out)
{
    const ptrdiff_t rows = vectors * FM_LANES;
    vec acc[FM_FACTOR_WIDTH][FM_TILE_VECTORS];
    for (int i = 0; i < width; i++)
        for (int v = 0; v < vectors; v++)
            acc[i][v] = (vec){0};
    const real *before = whiten ? x : z;
    for (ptrdiff_t t = 0; t < first; t++) {
        vec row[FM_TILE_VECTORS];
        for (int v = 0; v < vectors; v++)
            row[v] = fm_load(before + t * rows + v * FM_LANES);
        for (int i = 0; i < width; i++) {
            const vec factor = fm_broadcast(panel[t * width + i]);
            for (int v = 0; v < vectors; v++)
                acc[i][v] += factor * row[v];
        }
    }
    panel += first * width;
    FM_UNROLL
    for (int j = 0; j < width; j++) {
        vec row[FM_TILE_VECTORS];
        for (int v = 0; v < vectors; v++) {
            row[v] = fm_load(x + (first + j) * rows + v * FM_LANES);
            if (!whiten) {
                row[v] -= fm_broadcast(mean[first + j]);
                if (more)
                    fm_store(z + (first + j) * rows + v * FM_LANES, row[v]);
            }
        }
        FM_UNROLL
        for (int i = j; i < width; i++) {
            const vec factor = fm_broadcast(*panel++);
            for (int v = 0; v < vectors; v++)
                acc[i][v] += factor * row[v];
        }
        for (int v = 0; v < vectors; v++)
            if (whiten)
                fm_store(out + (first + j) * rows + v * FM_LANES, acc[j][v]);
            else
                square[v] += acc[j][v] * acc[j][v];
    }
}

/* All rows of P for one tile; d is a constant where it is small.  whiten as in factor_group. */
FM_INLINE void FM_NAME(factor_tile)(const real *restrict x, real *restrict z, ptrdiff_t d,
                                    const real *restrict mean, const real *restrict panel,
                                    int vectors, int whiten, vec *square, real *restrict out)
{
    ptrdiff_t first = 0;
    for (; d - first > FM_FACTOR_WIDTH; first += FM_FACTOR_WIDTH) {
        FM_NAME(factor_group)(x, z, mean, panel, vectors, first, FM_FACTOR_WIDTH, 1, whiten, square,
                              out);
        panel += first * FM_FACTOR_WIDTH + FM_FACTOR_WIDTH * (FM_FACTOR_WIDTH + 1) / 2;
    }
#define FM_LAST(width)                                                                             \
    FM_NAME(factor_group)(x, z, mean, panel, vectors, first, width, 0, whiten, square, out);       \
    break
    switch (d - first) {
    case 1: FM_LAST(1);
    case 2: FM_LAST(2);
    case 3: FM_LAST(3);
    case 4: FM_LAST(4);
    case 5: FM_LAST(5);
    default: FM_LAST(6);
    }
#undef FM_LAST
}

FM_INLINE void FM_NAME(mahalanobis_tiles)(const real *restrict x, ptrdiff_t count, ptrdiff_t d,
                                          const real *restrict panel, real *restrict out,
                                          real *restrict z)
{
    const vec zero = fm_broadcast(fm_opaque(0));
    for (ptrdiff_t i = 0; i < count; i += FM_TILE_ROWS, x += d * FM_TILE_ROWS) {
        vec square[FM_TILE_VECTORS];
        for (int v = 0; v < FM_TILE_VECTORS; v++)
            square[v] = zero;
        FM_NAME(factor_tile)(x, z, d, panel, panel + d, FM_TILE_VECTORS, 0, square, NULL);
        for (int v = 0; v < FM_TILE_VECTORS; v++)
            fm_store(out + i + v * FM_LANES, square[v]);
    }
}

static void FM_NAME(mahalanobis)(const void *tiles, ptrdiff_t count, ptrdiff_t d, const void *panel,
                                 void *out, void *scratch)
{
    switch (d) {
    case 1: FM_NAME(mahalanobis_tiles)(tiles, count, 1, panel, out, scratch); break;
    case 2: FM_NAME(mahalanobis_tiles)(tiles, count, 2, panel, out, scratch); break;
    case 3: FM_NAME(mahalanobis_tiles)(tiles, count, 3, panel, out, scratch); break;
    case 4: FM_NAME(mahalanobis_tiles)(tiles, count, 4, panel, out, scratch); break;
    default: FM_NAME(mahalanobis_tiles)(tiles, count, d, panel, out, scratch);
    }
}

static void FM_NAME(whiten)(const void *tiles, ptrdiff_t count, ptrdiff_t d, const void *panels,
                            void *out)
{
    const real *x = tiles, *panel = panels;
    real *y = out;
    for (ptrdiff_t i = 0; i < count; i += FM_TILE_ROWS, x += d * FM_TILE_ROWS) {
        vec none[FM_TILE_VECTORS];
        FM_NAME(factor_tile)(x, NULL, d, panel, panel + d, FM_TILE_VECTORS, 1, none, y);
        y += d * FM_TILE_ROWS;
    }
}

static void FM_NAME(pack_factor)(const double *factor, const double *mean, ptrdiff_t d,
                                 void *panels)
{
    real *panel = panels;
    for (ptrdiff_t t = 0; t < d; t++)
        *panel++ = mean ? (real)mean[t] : 0;
    for (ptrdiff_t first = 0; first < d; first += FM_FACTOR_WIDTH) {
        const ptrdiff_t end = d - first < FM_FACTOR_WIDTH ? d : first + FM_FACTOR_WIDTH;
        for (ptrdiff_t t = 0; t < end; t++)
            for (ptrdiff_t i = t < first ? first : t; i < end; i++)
                *panel++ = (real)factor[i * d + t];
    }
}
