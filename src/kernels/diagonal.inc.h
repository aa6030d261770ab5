/* SPDX-License-Identifier: BSD-3-Clause */
/* Squared Mahalanobis distances to components with diagonal and spherical covariances:
 *
 *     diagonal:   out[j * stride + i] = sum_t (x_it s_jt - mu_jt s_jt)^2,  s = 1 / standard deviation
 *     spherical:  out[j * stride + i] = s_j^2 sum_t (x_it - mu_jt)^2
 *
 * by differences, one chain of fused multiply-adds over t; the components of a group share the
 * loads of the rows.  Relative error at most (d + 5) u, beyond the rounding of s and of mu, or of
 * mu s, which is as much: the product x s is not rounded where multiply-adds are fused.
 *
 * Panel of a group of DIAGONAL_WIDTH components: [t][mu s: width][s: width], or [t][mu: width] and
 * then [s^2: width]; the last group is padded with zeros.
 */
#define FM_DIAGONAL_WIDTH 4

FM_INLINE void FM_NAME(diagonal_tiles)(const real *restrict x, ptrdiff_t count, ptrdiff_t d,
                                       const real *restrict panels, ptrdiff_t k, int spherical,
                                       real *restrict out, ptrdiff_t stride, fm_memory memory)
{
    const ptrdiff_t width = spherical ? FM_DIAGONAL_WIDTH : 2 * FM_DIAGONAL_WIDTH;
    const vec zero = fm_broadcast(fm_opaque(0));
    fetch next = start_fetch(memory, (count + FM_TILE_ROWS - 1) / FM_TILE_ROWS *
                                         ((k + FM_DIAGONAL_WIDTH - 1) / FM_DIAGONAL_WIDTH));
    for (ptrdiff_t i = 0; i < count; i += FM_TILE_ROWS, x += d * FM_TILE_ROWS) {
        const real *panel = panels;
        for (ptrdiff_t j = 0; j < k; j += FM_DIAGONAL_WIDTH) {
            vec acc[FM_DIAGONAL_WIDTH][FM_TILE_VECTORS];
            for (int c = 0; c < FM_DIAGONAL_WIDTH; c++)
                for (int v = 0; v < FM_TILE_VECTORS; v++)
                    acc[c][v] = zero;
            fetch_some(&next);
            for (ptrdiff_t t = 0; t < d; t++, panel += width)
                for (int c = 0; c < FM_DIAGONAL_WIDTH; c++) {
                    const vec mean = fm_broadcast(panel[c]);
                    for (int v = 0; v < FM_TILE_VECTORS; v++) {
                        const vec row = fm_load(x + t * FM_TILE_ROWS + v * FM_LANES);
                        const vec gap =
                            spherical ? row - mean
                                      : row * fm_broadcast(panel[FM_DIAGONAL_WIDTH + c]) - mean;
                        acc[c][v] += gap * gap;
                    }
                }
            real *to = out + j * stride + i;
            for (int c = 0; c < FM_DIAGONAL_WIDTH && j + c < k; c++, to += stride)
                for (int v = 0; v < FM_TILE_VECTORS; v++) {
                    if (spherical)
                        acc[c][v] *= fm_broadcast(panel[c]);
                    fm_store(to + v * FM_LANES, acc[c][v]);
                }
            panel += spherical ? FM_DIAGONAL_WIDTH : 0;
        }
    }
}

static void FM_NAME(diagonal)(const void *tiles, ptrdiff_t count, ptrdiff_t d, const void *panel,
                              ptrdiff_t k, void *out, ptrdiff_t stride, fm_memory next)
{
    FM_NAME(diagonal_tiles)(tiles, count, d, panel, k, 0, out, stride, next);
}

static void FM_NAME(spherical)(const void *tiles, ptrdiff_t count, ptrdiff_t d, const void *panel,
                               ptrdiff_t k, void *out, ptrdiff_t stride, fm_memory next)
{
    FM_NAME(diagonal_tiles)(tiles, count, d, panel, k, 1, out, stride, next);
}

/* mean (k, d); scale (k, d) of the diagonal form, (k) of the spherical one. */
static void FM_NAME(pack_diagonal)(const double *mean, const double *scale, ptrdiff_t k,
                                   ptrdiff_t d, int is_spherical, void *panels)
{
    real *panel = panels;
    for (ptrdiff_t j = 0; j < k; j += FM_DIAGONAL_WIDTH) {
        for (ptrdiff_t t = 0; t < d; t++) {
            for (ptrdiff_t c = j; c < j + FM_DIAGONAL_WIDTH; c++)
                *panel++ =
                    c < k ? (real)(mean[c * d + t] * (is_spherical ? 1 : scale[c * d + t])) : 0;
            for (ptrdiff_t c = j; !is_spherical && c < j + FM_DIAGONAL_WIDTH; c++)
                *panel++ = c < k ? (real)scale[c * d + t] : 0;
        }
        for (ptrdiff_t c = j; is_spherical && c < j + FM_DIAGONAL_WIDTH; c++)
            *panel++ = c < k ? (real)(scale[c] * scale[c]) : 0;
    }
}
