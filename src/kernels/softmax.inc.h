/* SPDX-License-Identifier: BSD-3-Clause */
/* E-step (PRML 9.13) of a block from its squared Mahalanobis distances q_k, by log-sum-exp:
 *
 *     l_k = c_k - q_k / 2,   c_k = ln pi_k + ln det P_k - (d / 2) ln 2 pi,   m = max_k l_k,
 *     e_k = exp(l_k - m) where l_k - m >= -41.45 (ln 1e-18), else exactly 0,   S = sum_k e_k,
 *     r_k = e_k / S,   ln p = m + ln S,
 *     entropy = -sum_k r_k ln r_k = ln S - (sum_k e_k (l_k - m)) / S.
 *
 * S is added in the order of k.  The constants are used relative to the greatest, which is added
 * back in float64, so that ln p of float32 rows does not lose what |c_k| would cost.
 *
 * Error, u = 2^-24 or 2^-53: the rounding of l_k is u |l_k|, hence r_k has a relative error of
 * about u (|l_k| + |m| + k + 6), where l and m are relative to the greatest constant.
 *
 * Pre-conditions: k >= 1, q_k >= 0, in every row one l_k finite.  Memory of rows [count, rounded up
 * to a tile, and to 16) of every component is written; it becomes 0.
 */
/* Rows that a row of responsibilities has in memory. */
#define FM_PADDED(count)                                                                           \
    (((count) + (FM_TILE_ROWS > 16 ? FM_TILE_ROWS : 16) - 1) /                                     \
     (FM_TILE_ROWS > 16 ? FM_TILE_ROWS : 16) * (FM_TILE_ROWS > 16 ? FM_TILE_ROWS : 16))

static double FM_NAME(pack_constants)(const double *constants, ptrdiff_t k, void *packed)
{
    real *to = packed;
    double greatest = constants[0];
    for (ptrdiff_t j = 1; j < k; j++)
        greatest = constants[j] > greatest ? constants[j] : greatest;
    for (ptrdiff_t j = 0; j < k; j++)
        to[j] = (real)(constants[j] - greatest);
    return greatest;
}

/* ln S and 1 / S of a tile's rows.  Whether S is 1 in all of them, as it is in rows far from all
 * components but one: no logarithm, no quotient. */
FM_INLINE int FM_NAME(sums_of_tile)(const vec *sum, vec *log_sum, vec *inverse)
{
    const vec one = fm_broadcast(1);
    ivec unlike = (ivec){0};
    for (int v = 0; v < FM_TILE_VECTORS; v++) {
        log_sum[v] = (vec){0};
        inverse[v] = one;
        unlike |= sum[v] != one;
    }
    if (!FM_NAME(any)(unlike))
        return 1;
    for (int v = 0; v < FM_TILE_VECTORS; v++) {
        log_sum[v] = sum[v];
        inverse[v] = one / sum[v];
    }
    FM_NAME(logs)(log_sum, FM_TILE_VECTORS);
    return 0;
}

/* ln p of the first rows of a tile; whether all are finite. */
FM_INLINE int FM_NAME(log_prob_of_tile)(const vec *top, const vec *log_sum, ptrdiff_t rows,
                                        double greatest, double *restrict log_prob)
{
    real kept[2][FM_TILE_ROWS];
    for (int v = 0; v < FM_TILE_VECTORS; v++) {
        fm_store(kept[0] + v * FM_LANES, top[v]);
        fm_store(kept[1] + v * FM_LANES, log_sum[v]);
    }
    int finite = 1;
    for (ptrdiff_t i = 0; i < rows; i++) {
        log_prob[i] = (greatest + (double)kept[0][i]) + (double)kept[1][i];
        finite &= log_prob[i] >= -DBL_MAX;
    }
    return finite;
}

/* One tile; rows > 0 of it are of the block.  mixed, whether entropies are wanted, and packs are
 * constants: a condition known only at run time may part a product from its sum, and then nothing is
 * fused.  Returns the live pairs, rows beyond the block's included. */
FM_INLINE ptrdiff_t FM_NAME(softmax_tile)(real *restrict terms, ptrdiff_t rows, ptrdiff_t k,
                                          ptrdiff_t stride, const real *restrict constants,
                                          double greatest, int mixed, int packs,
                                          double *restrict log_prob, double *restrict entropy,
                                          int *restrict infinite)
{
    const vec half = fm_broadcast((real)-0.5);
    vec top[FM_TILE_VECTORS], sum[FM_TILE_VECTORS], cross[FM_TILE_VECTORS];
    for (int v = 0; v < FM_TILE_VECTORS; v++) {
        top[v] = fm_broadcast(-(real)INFINITY);
        sum[v] = cross[v] = (vec){0};
    }
    for (ptrdiff_t j = 0; j < k; j++)
        for (int v = 0; v < FM_TILE_VECTORS; v++) {
            const vec term = fm_load(terms + j * stride + v * FM_LANES);
            top[v] = fm_max(half * term + fm_broadcast(constants[j]), top[v]);
        }
    const ptrdiff_t live =
        FM_NAME(exponentials)(terms, k, stride, constants, mixed, packs, top, sum, cross);
    vec log_sum[FM_TILE_VECTORS], inverse[FM_TILE_VECTORS];
    const int same = FM_NAME(sums_of_tile)(sum, log_sum, inverse);
    if (mixed) {
        /* One branch has the product and its sum. */
        real uncertainty[FM_TILE_ROWS];
        for (int v = 0; same && v < FM_TILE_VECTORS; v++)
            fm_store(uncertainty + v * FM_LANES, (vec){0} - cross[v]);
        for (int v = 0; !same && v < FM_TILE_VECTORS; v++)
            fm_store(uncertainty + v * FM_LANES, log_sum[v] - cross[v] * inverse[v]);
        for (ptrdiff_t i = 0; i < rows; i++)
            entropy[i] = (double)uncertainty[i];
    }
    *infinite |= !FM_NAME(log_prob_of_tile)(top, log_sum, rows, greatest, log_prob);
    for (ptrdiff_t i = rows; i < FM_TILE_ROWS; i++)
        ((real *)inverse)[i] = 0;
    for (ptrdiff_t j = 0; (!same || rows < FM_TILE_ROWS) && j < k; j++)
        for (int v = 0; v < FM_TILE_VECTORS; v++) {
            real *to = terms + j * stride + v * FM_LANES;
            fm_store(to, fm_load(to) * inverse[v]);
        }
    return live;
}

/* A whole block; packs, for its first tile, and mixed are constants in softmax_tile. */
FM_INLINE ptrdiff_t FM_NAME(softmax_block)(real *terms, ptrdiff_t count, ptrdiff_t k,
                                           ptrdiff_t stride, const real *constants, double greatest,
                                           ptrdiff_t expected, int mixed, double *log_prob,
                                           double *entropy)
{
    /* Whole tiles: lanes beyond the last row repeat it, and count. */
    const ptrdiff_t n_tiles = (count + FM_TILE_ROWS - 1) / FM_TILE_ROWS;
    ptrdiff_t i = 0, live = expected / n_tiles, total = 0;
    int infinite = 0;
    for (; i < count; i += FM_TILE_ROWS) {
        const ptrdiff_t left = count - i;
#define FM_TILE(rows, packs)                                                                       \
    live = FM_NAME(softmax_tile)(terms + i, rows, k, stride, constants, greatest, mixed, packs,    \
                                 log_prob + i, mixed ? entropy + i : NULL, &infinite)
        if (left < FM_TILE_ROWS)
            FM_TILE(left, 0);
#ifdef fm_pack_live
        else if (8 * live < FM_PACKED_EIGHTHS * k * FM_TILE_ROWS)
            FM_TILE(FM_TILE_ROWS, 1);
#endif
        else
            FM_TILE(FM_TILE_ROWS, 0);
#undef FM_TILE
        total += live;
    }
    for (const ptrdiff_t end = FM_PADDED(count); i < end; i += FM_LANES)
        for (ptrdiff_t j = 0; j < k; j++)
            fm_store(terms + j * stride + i, (vec){0});
    return infinite ? -1 : total;
}

static ptrdiff_t FM_NAME(softmax)(void *terms, ptrdiff_t count, ptrdiff_t k, ptrdiff_t stride,
                                  const void *constants, double greatest, ptrdiff_t expected,
                                  double *log_prob, double *entropy)
{
    if (entropy)
        return FM_NAME(softmax_block)(terms, count, k, stride, constants, greatest, expected, 1,
                                      log_prob, entropy);
    return FM_NAME(softmax_block)(terms, count, k, stride, constants, greatest, expected, 0,
                                  log_prob, NULL);
}

/* The rows of one component that the M-step visits, in order, with their responsibilities times
 * weights (w NULL: 1) in float64.  list and out have room for eight more than the rows. */
static ptrdiff_t FM_NAME(select_rows)(const void *responsibilities, const double *w,
                                      ptrdiff_t count, int32_t *restrict list, double *restrict out)
{
    const real *r = responsibilities;
    ptrdiff_t found = 0, i = 0;
    /* Which rows have a share is unpredictable: no branch for one row, and one for eight only where
     * packing them takes longer than to mispredict it. */
    for (; i + 8 <= count; i += 8) {
#ifndef FM_PACKS_LANES
        ivec live = (ivec){0};
        for (int v = 0; v < 8; v += FM_LANES)
            live |= fm_load(r + i + v) > (vec){0};
        if (!FM_NAME(any)(live))
            continue;
#endif
        found +=
            FM_NAME(pack_positive)(r + i, w ? w + i : NULL, (int32_t)i, list + found, out + found);
    }
    for (; i < count; i++) {
        const double value = w ? (double)r[i] * w[i] : (double)r[i];
        list[found] = (int32_t)i;
        out[found] = value;
        found += value > 0;
    }
    return found;
}

/* The same for all rows and without a list: out[i] = r_i w_i, 0 up to a multiple of 16 rows. */
static void FM_NAME(widen)(const void *responsibilities, const double *w, ptrdiff_t count,
                           double *restrict out)
{
    const real *r = responsibilities;
    for (ptrdiff_t i = 0; i < count; i++)
        out[i] = w ? (double)r[i] * w[i] : (double)r[i];
    for (ptrdiff_t i = count; i < (count + 15) / 16 * 16; i++)
        out[i] = 0;
}
