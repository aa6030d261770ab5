/* SPDX-License-Identifier: BSD-3-Clause */
/* Nearest centre (PRML 9.2): labels[i] = argmin_j |x_i - c_j|^2 = argmax_j s_ij,
 *
 *     s_ij = x_i . c_j - |c_j|^2 / 2,
 *
 * one chain of fused multiply-adds over d that starts at the bias -|c_j|^2 / 2.  Rows are in the
 * lanes, so no sum crosses lanes and the bits of s_ij depend on neither the vector width nor the
 * tile.  Ties go to the lowest j: only a greater score replaces the best.
 *
 * Error of one score: |computed - exact| <= (d + 1) u (|c|^2 / 2 + sum_t |x_t c_t|), u = 2^-24 or
 * 2^-53, plus what the bias is off by: u |c|^2 / 2, in float64, whose squares are rounded as well,
 * (d + 1) u |c|^2 / 2.
 *
 * Pre-conditions: finite x and c, scaled so that no score overflows; k >= 1; padding centres have
 * a bias of -inf.
 */

/* Blocking for the caches: DEPTH columns of a tile (8 KiB, or 16 KiB of the widest vectors) stay in
 * the first level while CHUNK centres, whose panel stays in the second (128 KiB), pass over them;
 * the chunk serves every tile of the block before the next chunk is read.  Partial scores are stored
 * and loaded once per DEPTH: at d = 128 32 columns reach 0.95 and 64 reach 0.97 of the FMA peak
 * (AVX-512, Zen 4). */
#define FM_DEPTH (FM_VECTOR_BYTES == 64 ? 64 : 128)
#define FM_CHUNK_BYTES 131072

/* acc[j][v] += c[t][j] * x[t][v] for t in 0 .. depth. */
FM_INLINE void FM_NAME(multiply_add)(const real *restrict x, const real *restrict c,
                                     ptrdiff_t depth, vec acc[FM_PANEL_WIDTH][FM_TILE_VECTORS])
{
    for (ptrdiff_t t = 0; t < depth; t++) {
        vec row[FM_TILE_VECTORS];
        for (int v = 0; v < FM_TILE_VECTORS; v++)
            row[v] = fm_load(x + t * FM_TILE_ROWS + v * FM_LANES);
        for (int j = 0; j < FM_PANEL_WIDTH; j++) {
            const vec center = fm_broadcast(c[t * FM_PANEL_WIDTH + j]);
            for (int v = 0; v < FM_TILE_VECTORS; v++)
                acc[j][v] += center * row[v];
        }
    }
}

/* The running best of every row of a tile, kept between chunks of centres. */
typedef struct {
    vec score[FM_TILE_VECTORS], next[FM_TILE_VECTORS];
    ivec label[FM_TILE_VECTORS], second[FM_TILE_VECTORS];
} FM_NAME(best);

FM_INLINE void FM_NAME(store_labels)(const ivec *from, ptrdiff_t rows, int32_t *restrict labels)
{
    for (ptrdiff_t r = 0; r < rows; r++)
        labels[r] = (int32_t)((const real_bits *)from)[r];
}

/* What is wanted beside the label: nothing, the runner-up, or its score. */
#ifndef FM_WANTED_ONCE
#define FM_WANTED_ONCE
enum fm_wanted {
    FM_LABEL,
    FM_RUNNER_UP,
    FM_SCORES
};
#endif

/* One tile against the groups [from, to) of centres.  d is a constant where it is small, and so is
 * wanted.  partial: scores of the chunk, where d exceeds DEPTH. */
FM_INLINE void FM_NAME(assign_tile)(const real *restrict x, ptrdiff_t d, const real *restrict panel,
                                    const real *restrict bias, ptrdiff_t from, ptrdiff_t to,
                                    enum fm_wanted wanted, real *restrict partial,
                                    FM_NAME(best) *restrict best, fetch *next)
{
    for (ptrdiff_t start = 0; start < d; start += FM_DEPTH) {
        const int last = d - start <= FM_DEPTH;
        for (ptrdiff_t g = from; g < to; g++) {
            vec acc[FM_PANEL_WIDTH][FM_TILE_VECTORS];
            fetch_some(next);
            real *saved = partial + (g - from) * FM_PANEL_WIDTH * FM_TILE_ROWS;
            for (int j = 0; j < FM_PANEL_WIDTH; j++)
                for (int v = 0; v < FM_TILE_VECTORS; v++)
                    acc[j][v] = start ? fm_load(saved + (j * FM_TILE_VECTORS + v) * FM_LANES)
                                      : fm_broadcast(bias[g * FM_PANEL_WIDTH + j]);
            FM_NAME(multiply_add)(x + start * FM_TILE_ROWS,
                                  panel + (g * d + start) * FM_PANEL_WIDTH,
                                  last ? d - start : FM_DEPTH, acc);
            if (!last) {
                for (int j = 0; j < FM_PANEL_WIDTH; j++)
                    for (int v = 0; v < FM_TILE_VECTORS; v++)
                        fm_store(saved + (j * FM_TILE_VECTORS + v) * FM_LANES, acc[j][v]);
                continue;
            }
            /* The group's own winner first: it waits for no other group, so that small d is not
             * bound by one chain of compares over all k. */
            const real_bits first = (real_bits)(g * FM_PANEL_WIDTH);
            for (int v = 0; v < FM_TILE_VECTORS; v++) {
                vec top = acc[0][v], below = fm_broadcast(-(real)INFINITY);
                ivec at = (ivec){0}, under = (ivec){0};
                for (int j = 1; j < FM_PANEL_WIDTH; j++) {
                    const ivec index = (ivec){0} + (real_bits)j;
                    const fm_mask wins = fm_above(acc[j][v], top);
                    if (wanted == FM_SCORES)
                        below = fm_max(fm_select(wins, top, acc[j][v]), below);
                    if (wanted == FM_RUNNER_UP) {
                        const fm_mask follows = fm_above(acc[j][v], below);
                        below = fm_select(wins, top, fm_select(follows, acc[j][v], below));
                        under = fm_iselect(wins, at, fm_iselect(follows, index, under));
                    }
                    top = fm_max(acc[j][v], top);
                    at = fm_iselect(wins, index, at);
                }
                at += first;
                const fm_mask wins = fm_above(top, best->score[v]);
                if (wanted == FM_SCORES)
                    best->next[v] =
                        fm_max(fm_max(fm_select(wins, best->score[v], top), below), best->next[v]);
                if (wanted == FM_RUNNER_UP) {
                    /* The runner-up: the best of this group that did not win, or the best of the
                     * earlier ones, which also has the tie. */
                    under += first;
                    const vec late = fm_select(wins, below, top);
                    const ivec late_at = fm_iselect(wins, under, at);
                    const vec early = fm_select(wins, best->score[v], best->next[v]);
                    const ivec early_at = fm_iselect(wins, best->label[v], best->second[v]);
                    const fm_mask passes = fm_above(late, early);
                    best->next[v] = fm_select(passes, late, early);
                    best->second[v] = fm_iselect(passes, late_at, early_at);
                }
                best->score[v] = fm_max(top, best->score[v]);
                best->label[v] = fm_iselect(wins, at, best->label[v]);
            }
        }
    }
}

/* The same for few columns, where rows stay in registers and a centre is used as it is read: no
 * register block to fill, hence no padding centres.  d is a constant. */
FM_INLINE void FM_NAME(assign_few)(const real *restrict x, ptrdiff_t count, ptrdiff_t d,
                                   const real *restrict panels, const real *restrict bias,
                                   ptrdiff_t k, int32_t *restrict labels, fetch next)
{
    for (ptrdiff_t start = 0; start < count; start += FM_TILE_ROWS, x += d * FM_TILE_ROWS) {
        const real *panel = panels;
        fetch_some(&next);
        vec row[4][FM_TILE_VECTORS], top[FM_TILE_VECTORS];
        ivec at[FM_TILE_VECTORS], index = (ivec){0};
        for (int v = 0; v < FM_TILE_VECTORS; v++) {
            for (ptrdiff_t t = 0; t < d; t++)
                row[t][v] = fm_load(x + t * FM_TILE_ROWS + v * FM_LANES);
            top[v] = fm_broadcast(-(real)INFINITY);
            at[v] = (ivec){0};
        }
        for (ptrdiff_t j = 0; j < k; panel += d * FM_PANEL_WIDTH)
            for (int i = 0; i < FM_PANEL_WIDTH && j < k; i++, j++, index += 1)
                for (int v = 0; v < FM_TILE_VECTORS; v++) {
                    vec score = fm_broadcast(bias[j]);
                    for (ptrdiff_t t = 0; t < d; t++)
                        score += fm_broadcast(panel[t * FM_PANEL_WIDTH + i]) * row[t][v];
                    at[v] = fm_iselect(fm_above(score, top[v]), index, at[v]);
                    top[v] = fm_max(score, top[v]);
                }
        const ptrdiff_t left = count - start;
        if (left >= FM_TILE_ROWS)
            FM_NAME(store_labels)(at, FM_TILE_ROWS, labels + start);
        else
            FM_NAME(store_labels)(at, left, labels + start);
    }
}

FM_INLINE ptrdiff_t FM_NAME(chunk_groups)(ptrdiff_t d)
{
    const ptrdiff_t groups = FM_CHUNK_BYTES / (d * FM_PANEL_WIDTH * (ptrdiff_t)sizeof(real));
    return groups > 8 ? groups : 8;
}

static ptrdiff_t FM_NAME(assign_scratch)(ptrdiff_t count, ptrdiff_t d)
{
    const ptrdiff_t n_tiles = (count + FM_TILE_ROWS - 1) / FM_TILE_ROWS;
    const ptrdiff_t partial = d > FM_DEPTH ? FM_NAME(chunk_groups)(d) * FM_PANEL_WIDTH : 0;
    return n_tiles * (ptrdiff_t)sizeof(FM_NAME(best)) +
           partial * FM_TILE_ROWS * (ptrdiff_t)sizeof(real);
}

/* All tiles of a block; the bests of its tiles are at the start of scratch. */
FM_INLINE void FM_NAME(assign_tiles)(const void *tiles, ptrdiff_t count, ptrdiff_t d,
                                     const void *panel, const void *bias, ptrdiff_t k,
                                     enum fm_wanted wanted, fm_memory memory, void *scratch)
{
    const ptrdiff_t n_tiles = (count + FM_TILE_ROWS - 1) / FM_TILE_ROWS;
    const ptrdiff_t groups = (k + FM_PANEL_WIDTH - 1) / FM_PANEL_WIDTH;
    const ptrdiff_t chunk = FM_NAME(chunk_groups)(d);
    const ptrdiff_t depths = (d + FM_DEPTH - 1) / FM_DEPTH;
    fetch next = start_fetch(memory, n_tiles * groups * depths);
    FM_NAME(best) *best = scratch;
    real *partial = (real *)(best + n_tiles);
    for (ptrdiff_t i = 0; i < n_tiles; i++)
        for (int v = 0; v < FM_TILE_VECTORS; v++) {
            best[i].score[v] = best[i].next[v] = fm_broadcast(-(real)INFINITY);
            best[i].label[v] = best[i].second[v] = (ivec){0};
        }
    for (ptrdiff_t from = 0; from < groups; from += chunk) {
        const ptrdiff_t to = groups - from < chunk ? groups : from + chunk;
        for (ptrdiff_t i = 0; i < n_tiles; i++) {
            const real *x = (const real *)tiles + i * d * FM_TILE_ROWS;
            FM_NAME(assign_tile)(x, d, panel, bias, from, to, wanted, partial, &best[i], &next);
        }
    }
}

static void FM_NAME(assign)(const void *tiles, ptrdiff_t count, ptrdiff_t d, const void *panel,
                            const void *bias, ptrdiff_t k, int32_t *labels, int32_t *second,
                            fm_memory memory, void *scratch)
{
    const FM_NAME(best) *best = scratch;
    if (!second && d <= 4) {
        const fetch next = start_fetch(memory, (count + FM_TILE_ROWS - 1) / FM_TILE_ROWS);
#define FM_ASSIGN_FEW(d) FM_NAME(assign_few)(tiles, count, d, panel, bias, k, labels, next)
        switch (d) {
        case 1: FM_ASSIGN_FEW(1); break;
        case 2: FM_ASSIGN_FEW(2); break;
        case 3: FM_ASSIGN_FEW(3); break;
        default: FM_ASSIGN_FEW(4);
        }
#undef FM_ASSIGN_FEW
        return;
    }
    if (second)
        FM_NAME(assign_tiles)(tiles, count, d, panel, bias, k, FM_RUNNER_UP, memory, scratch);
    else
        FM_NAME(assign_tiles)(tiles, count, d, panel, bias, k, FM_LABEL, memory, scratch);
    for (ptrdiff_t start = 0; start < count; start += FM_TILE_ROWS, best++) {
        const ptrdiff_t rows = count - start < FM_TILE_ROWS ? count - start : FM_TILE_ROWS;
        FM_NAME(store_labels)(best->label, rows, labels + start);
        if (second)
            FM_NAME(store_labels)(best->second, rows, second + start);
    }
}

static void FM_NAME(assign_leads)(const void *tiles, ptrdiff_t count, ptrdiff_t d,
                                  const void *panel, const void *bias, ptrdiff_t k, int32_t *labels,
                                  float *leads, void *scratch)
{
    const FM_NAME(best) *best = scratch;
    const fm_memory nothing = {NULL, 0};
    FM_NAME(assign_tiles)(tiles, count, d, panel, bias, k, FM_SCORES, nothing, scratch);
    for (ptrdiff_t start = 0; start < count; start += FM_TILE_ROWS, best++) {
        const ptrdiff_t rows = count - start < FM_TILE_ROWS ? count - start : FM_TILE_ROWS;
        const real *score = (const real *)best->score, *next = (const real *)best->next;
        FM_NAME(store_labels)(best->label, rows, labels + start);
        for (ptrdiff_t r = 0; r < rows; r++)
            leads[start + r] = (float)(score[r] - next[r]);
    }
}
