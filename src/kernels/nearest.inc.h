/* SPDX-License-Identifier: BSD-3-Clause */
/* The nearest centre of a single row, for centres that move after every row (PRML 9.5): centres in
 * the lanes, eight vectors of them at a time.
 *
 * Each score x.c - |c|^2 / 2 is the chain of fused multiply-adds of assign.inc.h, so that it has the
 * same bits.  Eight chains hide the latency of one (4 cycles, two a cycle): a panel that is padded
 * to eight vectors costs no more than one vector would.
 */
#define FM_NEAREST_WIDTH (8 * FM_LANES)

/* argmax_j of the scores of one framed row, ties to the lowest; the panel is in groups of
 * FM_NEAREST_WIDTH, centres that are missing have a bias of -inf. */
static int32_t FM_NAME(nearest)(const void *row, ptrdiff_t d, const void *panel, const void *bias,
                                ptrdiff_t k)
{
    const real *y = row, *c = panel, *b = bias;
    vec top = fm_broadcast(-(real)INFINITY);
    ivec at = {0};
    for (ptrdiff_t j = 0; j < k; j += FM_NEAREST_WIDTH, c += FM_NEAREST_WIDTH * d) {
        vec score[8];
        FM_UNROLL
        for (int v = 0; v < 8; v++)
            score[v] = fm_load(b + j + v * FM_LANES);
        for (ptrdiff_t t = 0; t < d; t++) {
            const vec value = fm_broadcast(y[t]);
            FM_UNROLL
            for (int v = 0; v < 8; v++)
                score[v] += value * fm_load(c + t * FM_NEAREST_WIDTH + v * FM_LANES);
        }
        FM_UNROLL
        for (int v = 0; v < 8; v++) {
            const fm_mask wins = fm_above(score[v], top);
            at = fm_iselect(wins, (ivec){0} + (real_bits)(j + v * FM_LANES), at);
            top = fm_max(score[v], top);
        }
    }
    real best = top[0];
    real_bits found = at[0];
    for (int lane = 1; lane < FM_LANES; lane++) {
        const real_bits j = at[lane] + lane;
        if (top[lane] > best || (!(top[lane] < best) && j < found)) {
            best = top[lane];
            found = j;
        }
    }
    return (int32_t)found;
}
