/* SPDX-License-Identifier: BSD-3-Clause */
/* The exponentials of a tile, for softmax.inc.h, in the order of k, in place:
 *
 *     e_k = exp(l_k - m) where l_k - m >= -41.45 (ln 1e-18), else exactly 0,
 *     sum += e_k,   cross += e_k (l_k - m) where mixed, a constant.
 *
 * exp takes half of the time of a mixture in two columns, and of the pairs of separated components
 * few are live: with instructions that pack lanes it is taken of these alone.  Otherwise it is left
 * out where no lane of some vectors is live.  Both have the same bits: a dead pair adds zero.
 */
#define FM_LEAST_LOG (-41.45)
#define FM_CUTOFF ((real)FM_LEAST_LOG)

/* l_k - m of one vector of rows. */
FM_INLINE vec FM_NAME(below_top)(const real *squares, real constant, vec top)
{
    const vec half = fm_broadcast((real)-0.5);
    const vec log_term = half * fm_load(squares) + fm_broadcast(constant);
    return log_term - top;
}

#ifdef fm_pack_live
/* Every lane of a tile at a time, so that no branch depends on the data.  Returns the live pairs. */
FM_INLINE ptrdiff_t FM_NAME(exponentials_dense)(real *restrict terms, ptrdiff_t k, ptrdiff_t stride,
                                                const real *restrict constants, int mixed,
                                                const vec *top, vec *sum, vec *cross)
{
    const vec cutoff = fm_broadcast(FM_CUTOFF);
    ptrdiff_t found = 0;
    for (ptrdiff_t j = 0; j < k; j++, terms += stride) {
        vec below[FM_TILE_VECTORS], power[FM_TILE_VECTORS];
        fm_live live[FM_TILE_VECTORS];
        for (int v = 0; v < FM_TILE_VECTORS; v++) {
            const vec given = FM_NAME(below_top)(terms + v * FM_LANES, constants[j], top[v]);
            live[v] = fm_not_below(given, cutoff);
            found += fm_n_live(live[v]);
            power[v] = below[v] = fm_max(given, cutoff);
        }
        FM_NAME(exps)(power, FM_TILE_VECTORS);
        for (int v = 0; v < FM_TILE_VECTORS; v++) {
            const vec value = fm_keep(live[v], power[v]);
            sum[v] += value;
            if (mixed)
                cross[v] += value * below[v];
            fm_store(terms + v * FM_LANES, value);
        }
    }
    return found;
}

FM_INLINE void FM_NAME(exps_at)(real *at, int count)
{
    vec power[4];
    for (int v = 0; v < count; v++)
        power[v] = fm_load(at + v * FM_LANES);
    FM_NAME(exps)(power, count);
    for (int v = 0; v < count; v++)
        fm_store(at + v * FM_LANES, power[v]);
}

/* Components whose live pairs stand side by side: 4 KiB of them in a tile. */
#define FM_PACKED_COMPONENTS 16
/* Pairs are packed where fewer were live in the tile before. */
#define FM_PACKED_EIGHTHS 5

FM_INLINE ptrdiff_t FM_NAME(exponentials_packed)(real *restrict terms, ptrdiff_t k,
                                                 ptrdiff_t stride, const real *restrict constants,
                                                 int mixed, const vec *top, vec *sum, vec *cross)
{
    const vec cutoff = fm_broadcast(FM_CUTOFF);
    real packed[(FM_PACKED_COMPONENTS * FM_TILE_VECTORS + 4) * FM_LANES];
    fm_live live[FM_PACKED_COMPONENTS][FM_TILE_VECTORS];
    ptrdiff_t total = 0;
    for (; k > 0; k -= FM_PACKED_COMPONENTS, constants += FM_PACKED_COMPONENTS) {
        const ptrdiff_t some = k < FM_PACKED_COMPONENTS ? k : FM_PACKED_COMPONENTS;
        ptrdiff_t found = 0;
        for (ptrdiff_t j = 0; j < some; j++)
            for (int v = 0; v < FM_TILE_VECTORS; v++) {
                const vec given =
                    FM_NAME(below_top)(terms + j * stride + v * FM_LANES, constants[j], top[v]);
                live[j][v] = fm_not_below(given, cutoff);
                fm_store(packed + found, fm_pack_live(live[j][v], given));
                found += fm_n_live(live[j][v]);
            }
        for (int v = 0; v < 4; v++)
            fm_store(packed + found + v * FM_LANES, (vec){0});
        ptrdiff_t i = 0;
        for (; i + 2 * FM_LANES < found; i += 4 * FM_LANES)
            FM_NAME(exps_at)(packed + i, 4);
        if (i < found)
            FM_NAME(exps_at)(packed + i, 2);
        total += found;
        found = 0;
        for (ptrdiff_t j = 0; j < some; j++, terms += stride)
            for (int v = 0; v < FM_TILE_VECTORS; v++) {
                real *to = terms + v * FM_LANES;
                const vec value = fm_unpack_live(live[j][v], fm_load(packed + found));
                found += fm_n_live(live[j][v]);
                sum[v] += value;
                if (mixed)
                    cross[v] +=
                        value * fm_max(FM_NAME(below_top)(to, constants[j], top[v]), cutoff);
                fm_store(to, value);
            }
    }
    return total;
}
#else
/* exp is skipped for two vectors at a time, in float64: with one, whose rows are often enough all
 * dead or not, mispredicted branches cost more than what is skipped (8 separated components: 5.6
 * instead of 4.4 ms for 500,000 rows in two columns). */
FM_INLINE ptrdiff_t FM_NAME(exponentials_dense)(real *restrict terms, ptrdiff_t k, ptrdiff_t stride,
                                                const real *restrict constants, int mixed,
                                                const vec *top, vec *sum, vec *cross)
{
    const vec cutoff = fm_broadcast(FM_CUTOFF);
    enum {
        together = sizeof(real) == 8 ? 2 : 1
    };
    ivec found = (ivec){0};
    for (ptrdiff_t j = 0; j < k; j++)
        for (int first = 0; first < FM_TILE_VECTORS; first += together) {
            real *to = terms + j * stride + first * FM_LANES;
            vec below[together], power[together];
            fm_live live[together], some = (ivec){0};
            for (int v = 0; v < together; v++) {
                below[v] = FM_NAME(below_top)(to + v * FM_LANES, constants[j], top[first + v]);
                live[v] = fm_not_below(below[v], cutoff);
                some |= live[v];
                found -= live[v];
            }
            if (!FM_NAME(any)(some)) {
                for (int v = 0; v < together; v++)
                    fm_store(to + v * FM_LANES, (vec){0});
                continue;
            }
            for (int v = 0; v < together; v++)
                power[v] = below[v] = fm_max(below[v], cutoff);
            FM_NAME(exps)(power, together);
            for (int v = 0; v < together; v++) {
                const vec value = fm_keep(live[v], power[v]);
                sum[first + v] += value;
                if (mixed)
                    cross[first + v] += value * below[v];
                fm_store(to + v * FM_LANES, value);
            }
        }
    ptrdiff_t total = 0;
    for (int lane = 0; lane < FM_LANES; lane++)
        total += found[lane];
    return total;
}
#endif

/* packs is a constant; it changes no bit. */
FM_INLINE ptrdiff_t FM_NAME(exponentials)(real *terms, ptrdiff_t k, ptrdiff_t stride,
                                          const real *constants, int mixed, int packs,
                                          const vec *top, vec *sum, vec *cross)
{
#ifdef fm_pack_live
    if (packs)
        return FM_NAME(exponentials_packed)(terms, k, stride, constants, mixed, top, sum, cross);
#endif
    (void)packs;
    return FM_NAME(exponentials_dense)(terms, k, stride, constants, mixed, top, sum, cross);
}
