/* SPDX-License-Identifier: BSD-3-Clause */
/* Squared distances to every centre of a panel, by differences:
 *
 *     out[j * stride + i] = sum_t (x_it - c_jt)^2, one chain of fused multiply-adds over t.
 *
 * No cancellation: |computed - exact| <= (d + 2) u times the exact value, whatever the norms (u as
 * in assign.inc.h; one more u for the subtraction's own rounding, squared).  stride >= count
 * rounded up to a tile.
 */
static void FM_NAME(distances)(const void *tiles, ptrdiff_t count, ptrdiff_t d, const void *panels,
                               ptrdiff_t k, void *out, ptrdiff_t stride)
{
    const real *x = tiles;
    for (ptrdiff_t i = 0; i < count; i += FM_TILE_ROWS, x += d * FM_TILE_ROWS) {
        const real *panel = panels;
        for (ptrdiff_t j = 0; j < k; j += FM_DISTANCE_WIDTH, panel += d * FM_DISTANCE_WIDTH) {
            vec acc[FM_DISTANCE_WIDTH][FM_TILE_VECTORS];
            for (int c = 0; c < FM_DISTANCE_WIDTH; c++)
                for (int v = 0; v < FM_TILE_VECTORS; v++)
                    acc[c][v] = (vec){0};
            for (ptrdiff_t t = 0; t < d; t++)
                for (int c = 0; c < FM_DISTANCE_WIDTH; c++) {
                    const vec center = fm_broadcast(panel[t * FM_DISTANCE_WIDTH + c]);
                    for (int v = 0; v < FM_TILE_VECTORS; v++) {
                        const vec gap = fm_load(x + t * FM_TILE_ROWS + v * FM_LANES) - center;
                        acc[c][v] += gap * gap;
                    }
                }
            real *to = (real *)out + j * stride + i;
            for (int c = 0; c < FM_DISTANCE_WIDTH && j + c < k; c++, to += stride)
                for (int v = 0; v < FM_TILE_VECTORS; v++)
                    fm_store(to + v * FM_LANES, acc[c][v]);
        }
    }
}
