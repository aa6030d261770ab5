/* SPDX-License-Identifier: BSD-3-Clause */
/* Nearest centre by shortlists: scores from products of 8-bit codes leave few centres for a row, of
 * which only those of a close race are scored as assign.inc.h does, to the same bits.
 *
 * Codes are q = round(x / s) in units of a row, s = max_t |x_t| / 127, and z = round(c / u) in units
 * of a group of centres.  With f = U / s, where U is the unit of all centres,
 *
 *     score / (s U)  =  u / U (q . z + bias f / (u U))  +  q . (c / U - u / U z) + (x / s - q) . c / U.
 *
 * The first term is computed, the product exactly; the other two are, by Cauchy-Schwarz, at most
 * M = |q| max |c / U - u / U z| + |x / s - q| max |c / U|, the maxima over the group, and M is
 * raised by what rounding may add to either kind of score.  A centre whose first term and M are
 * below the greatest first term less M has a lower score as assign.inc.h computes it: it cannot win
 * or tie.  Groups are of centres of about one norm, so that the M of one is not that of another.
 *
 * What is left of a row, where that is more than one, meets products of floats and their rounding
 * error, and what is left then the chain of multiply-adds of assign.inc.h.
 *
 * Rows are in the lanes.  Four codes of a row are 32 bits, which one instruction multiplies with four
 * of a centre (AVX512-VNNI): four times as many products as multiply-adds of float32 in a vector.
 */
#define FM_SHORT_VECTORS (FM_TILE_ROWS / 16)
/* Pairs of a row and a centre that a tile lists, and what one group of centres may add. */
#define FM_SHORT_PAIRS (64 * FM_TILE_ROWS)
#define FM_SHORT_MORE (FM_PANEL_WIDTH * FM_TILE_ROWS + 16)
/* Centres near to one row, beyond which it is left to kernel assign. */
#define FM_SHORT_ROOM 128
/* Chains of exact scores at a time: as many as hide the latency of a multiply-add. */
#define FM_SHORT_CHAINS 8

/* What a tile's rows need, in units of theirs. */
typedef struct {
    fm_short_floats factor[FM_SHORT_VECTORS]; /* f */
    fm_short_floats code[FM_SHORT_VECTORS];   /* |q| */
    fm_short_floats rest[FM_SHORT_VECTORS];   /* |x / s - q| */
    fm_short_floats base[FM_SHORT_VECTORS];   /* what rounding may add */
    fm_short_floats top[FM_SHORT_VECTORS];    /* the greatest first term less M so far */
    float fine[FM_TILE_ROWS];                 /* the margin of products of floats */
    float square[FM_TILE_ROWS];               /* |x / s|^2 */
    real inverse[FM_TILE_ROWS];               /* 1 / s */
    fm_short_pairs pairs;
    int32_t row[FM_SHORT_PAIRS + 16], label[FM_SHORT_PAIRS + 16];
    float score[FM_SHORT_PAIRS + 16];
} FM_NAME(short_tile);

/* Scratch: a tile, its codes, one row in floats; the greatest scores of groups, and one more. */
static ptrdiff_t FM_NAME(shortlist_scratch)(ptrdiff_t d, ptrdiff_t groups)
{
    return (ptrdiff_t)sizeof(FM_NAME(short_tile)) + (d + 3) / 4 * 4 * FM_TILE_ROWS +
           FM_SHORT_FLOATS(d) * 4 + (groups ? groups + 1 : 0) * FM_TILE_ROWS * 4;
}

/* Codes of one tile, [quad][row] four bytes each: q + 128, and 128 beyond the last column. */
FM_INLINE void FM_NAME(short_codes)(const real *restrict x, const fm_shortlist *p,
                                    uint32_t *restrict codes, FM_NAME(short_tile) *restrict tile)
{
    enum {
        ROWS = FM_TILE_ROWS
    };
    const ptrdiff_t d = p->d;
    const real round = (real)(sizeof(real) == 4 ? 0x1.8p23 : 0x1.8p52);
    real most[ROWS] = {0}, *restrict inverse = tile->inverse;
    float square[ROWS] = {0}, rest[ROWS] = {0}, whole[ROWS] = {0};
    for (ptrdiff_t t = 0; t < d; t++)
        for (int r = 0; r < ROWS; r++) {
            const real size = x[t * ROWS + r] < 0 ? -x[t * ROWS + r] : x[t * ROWS + r];
            most[r] = size > most[r] ? size : most[r];
        }
    for (int r = 0; r < ROWS; r++)
        inverse[r] = most[r] > 0 ? 127 / most[r] : 1 / (real)p->unit;
    for (ptrdiff_t t = 0; t < d; t += 4) {
        const int columns = d - t < 4 ? (int)(d - t) : 4;
        uint32_t *to = codes + t / 4 * ROWS;
        for (int r = 0; r < ROWS; r++)
            to[r] = 0x80808080;
        for (int i = 0; i < columns; i++)
            for (int r = 0; r < ROWS; r++) {
                const real value = x[(t + i) * ROWS + r] * inverse[r];
                const real q = (value + round) - round;
                const float gap = (float)(value - q), code = (float)q;
                square[r] += code * code;
                rest[r] += gap * gap;
                whole[r] += (float)value * (float)value;
                to[r] += (uint32_t)(int32_t)code << (8 * i);
            }
    }
    const float columns = __builtin_sqrtf((float)d), slack = 1 + 0x1p-10f;
    for (int r = 0; r < ROWS; r++) {
        const float f = (float)(inverse[r] * (real)p->unit);
        const float q = __builtin_sqrtf(square[r]) * slack;
        /* x / s is off by 127 units in the last place, of which 2^-17 is more than any. */
        const float e = __builtin_sqrtf(rest[r]) * slack + 0x1p-16f * columns;
        const float bias = p->most_bias * f, most_score = bias + (q + e) * p->norm;
        const int usable = f > 0x1p-40f && f < 0x1p40f;
        ((float *)tile->factor)[r] = usable ? f : 1;
        ((float *)tile->code)[r] = q;
        ((float *)tile->rest)[r] = e;
        const float tiny = (float)(p->underflow * (double)inverse[r]);
        ((float *)tile->base)[r] = slack * (p->rounding + 0x1p-19f) * most_score + tiny;
        tile->fine[r] = 2 * slack * p->float_rounding * most_score + 2 * tiny;
        tile->square[r] = whole[r];
        /* Nothing reaches what is out of range, and nothing is listed. */
        ((float *)tile->top)[r] = usable ? -INFINITY : INFINITY;
    }
}

/* M for the rows of a vector: of a group, or of one for each row. */
FM_INLINE fm_short_floats FM_NAME(short_margin)(const FM_NAME(short_tile) * tile, int v,
                                                fm_short_floats norm, fm_short_floats error)
{
    const fm_short_floats rest = tile->rest[v] * norm + tile->base[v];
    return tile->code[v] * error + rest;
}

/* Scores of the centres that the rows are thought to be near, as the best so far; hint: labels, or
 * less than 0. */
FM_INLINE void FM_NAME(short_guess)(const uint32_t *restrict codes, const fm_shortlist *p,
                                    const int32_t *hint, ptrdiff_t rows, FM_NAME(short_tile) * tile)
{
    const ptrdiff_t quads = (p->d + 3) / 4;
    for (int v = 0; v < FM_SHORT_VECTORS; v++) {
        const int32_t *panel[16];
        fm_short_counts acc = {0};
        fm_short_floats bias = {0}, ratio = {0}, norm = {0}, error = {0};
        for (int l = 0; l < 16; l++) {
            const ptrdiff_t r = 16 * v + l, at = p->place[r < rows && hint[r] > 0 ? hint[r] : 0];
            const ptrdiff_t g = at / FM_PANEL_WIDTH;
            panel[l] = p->codes + g * quads * FM_PANEL_WIDTH + at % FM_PANEL_WIDTH;
            acc[l] = p->start[at];
            bias[l] = p->bias[at];
            ratio[l] = p->ratio[g];
            norm[l] = p->group_norm[g];
            error[l] = p->group_error[g];
        }
        for (ptrdiff_t t = 0; t < quads; t++) {
            fm_short_counts center;
            for (int l = 0; l < 16; l++)
                center[l] = panel[l][t * FM_PANEL_WIDTH];
            acc = fm_short_add(acc, *(const fm_short_counts *)(codes + t * FM_TILE_ROWS + 16 * v),
                               center);
        }
        const fm_short_floats score =
            __builtin_convertvector(acc, fm_short_floats) + bias * tile->factor[v];
        const fm_short_floats margin = FM_NAME(short_margin)(tile, v, norm, error);
        tile->top[v] = fm_short_max(score * ratio - margin, tile->top[v]);
    }
}

/* One tile's codes against all centres: lists the pairs that are near, by centre.  Returns 0 if there
 * are too many.  greatest, where not NULL, gets for every group of group_of, centres by place, the
 * most that a score of the rows can be. */
FM_INLINE int FM_NAME(short_scan)(const uint32_t *restrict codes, const fm_shortlist *p,
                                  FM_NAME(short_tile) *restrict tile, fetch *next,
                                  const int32_t *group_of, fm_short_floats *restrict greatest)
{
    const ptrdiff_t quads = (p->d + 3) / 4, groups = (p->k + FM_PANEL_WIDTH - 1) / FM_PANEL_WIDTH;
    const int32_t *panel = p->codes;
    fm_short_pairs pairs = {tile->row, tile->label, tile->score, 0};
    for (ptrdiff_t g = 0; g < groups; g++) {
        fm_short_counts acc[FM_PANEL_WIDTH][FM_SHORT_VECTORS];
        fetch_some(next);
        FM_UNROLL
        for (int j = 0; j < FM_PANEL_WIDTH; j++)
            for (int v = 0; v < FM_SHORT_VECTORS; v++)
                acc[j][v] = p->start[g * FM_PANEL_WIDTH + j] - (fm_short_counts){0};
        for (ptrdiff_t t = 0; t < quads; t++, panel += FM_PANEL_WIDTH) {
            fm_short_counts row[FM_SHORT_VECTORS];
            for (int v = 0; v < FM_SHORT_VECTORS; v++)
                row[v] = *(const fm_short_counts *)(codes + t * FM_TILE_ROWS + 16 * v);
            for (int j = 0; j < FM_PANEL_WIDTH; j++) {
                const fm_short_counts center = panel[j] - (fm_short_counts){0};
                for (int v = 0; v < FM_SHORT_VECTORS; v++)
                    acc[j][v] = fm_short_add(acc[j][v], row[v], center);
            }
        }
        if (pairs.n > FM_SHORT_PAIRS - FM_SHORT_MORE) {
            fm_short_filter(&pairs, (const float *)tile->top);
            if (pairs.n > FM_SHORT_PAIRS / 2)
                return 0;
        }
        FM_UNROLL
        for (int v = 0; v < FM_SHORT_VECTORS; v++) {
            const fm_short_floats margin =
                FM_NAME(short_margin)(tile, v, p->group_norm[g] - (fm_short_floats){0},
                                      p->group_error[g] - (fm_short_floats){0});
            fm_short_floats score[FM_PANEL_WIDTH], top;
            uint64_t near[FM_PANEL_WIDTH], any = 0;
            for (int j = 0; j < FM_PANEL_WIDTH; j++) {
                const fm_short_floats product = __builtin_convertvector(acc[j][v], fm_short_floats);
                score[j] = product + p->bias[g * FM_PANEL_WIDTH + j] * tile->factor[v];
                top = j ? fm_short_max(top, score[j]) : score[j];
            }
            top = fm_short_max(top * p->ratio[g] - margin, tile->top[v]);
            tile->top[v] = top;
            if (greatest)
                for (int j = 0; j < FM_PANEL_WIDTH; j++) {
                    fm_short_floats *const most =
                        greatest + group_of[g * FM_PANEL_WIDTH + j] * FM_SHORT_VECTORS + v;
                    *most = fm_short_max(score[j] * p->ratio[g] + margin, *most);
                }
            const fm_short_floats limit = (top - margin) * p->inverse_ratio[g];
            for (int j = 0; j < FM_PANEL_WIDTH; j++)
                any |= near[j] = fm_short_reach(score[j], limit);
            if (any)
                for (int j = 0; j < FM_PANEL_WIDTH; j++)
                    if (near[j])
                        fm_short_append(&pairs, near[j], 16 * v, p->label[g * FM_PANEL_WIDTH + j],
                                        score[j] * p->ratio[g] + margin);
        }
    }
    fm_short_filter(&pairs, (const float *)tile->top);
    tile->pairs = pairs;
    return 1;
}

/* Fused by name: GCC 12 puts the eight products into one vector, and forgets to fuse it with the sum.
 * All tables with tiles of sixteen rows have the instruction. */
#ifdef FM_DOUBLE
#define FM_SHORT_FMA(a, b, c) __builtin_fma(a, b, c)
#else
#define FM_SHORT_FMA(a, b, c) __builtin_fmaf(a, b, c)
#endif

/* The scores, as kernel assign computes them, of centres label[0 .. n) for row[0 .. n) of a tile. */
FM_INLINE void FM_NAME(short_scores)(const real *restrict x, const int32_t *row,
                                     const int32_t *label, int n, ptrdiff_t d,
                                     const real *restrict panel, const real *restrict bias,
                                     real *score)
{
    const real *from[FM_SHORT_CHAINS], *center[FM_SHORT_CHAINS];
    real acc[FM_SHORT_CHAINS];
    for (int i = 0; i < FM_SHORT_CHAINS; i++) {
        const int at = i < n ? i : 0;
        const ptrdiff_t j = label[at];
        from[i] = x + row[at];
        center[i] = panel + j / FM_PANEL_WIDTH * d * FM_PANEL_WIDTH + j % FM_PANEL_WIDTH;
        acc[i] = bias[j];
    }
    for (ptrdiff_t t = 0; t < d; t++) {
        FM_UNROLL
        for (int i = 0; i < FM_SHORT_CHAINS; i++)
            acc[i] = FM_SHORT_FMA(from[i][t * FM_TILE_ROWS], center[i][t * FM_PANEL_WIDTH], acc[i]);
    }
    for (int i = 0; i < n; i++)
        score[i] = acc[i];
}

/* Of n listed centres of row r those that products of floats leave; y: room for them. */
static int FM_NAME(short_refine)(const real *restrict x, ptrdiff_t r, const fm_shortlist *p,
                                 const FM_NAME(short_tile) * tile, int32_t *label, int n, float *y)
{
    const ptrdiff_t d = p->d, columns = FM_SHORT_FLOATS(d);
    const float factor = ((const float *)tile->factor)[r];
    float score[FM_SHORT_ROOM], top = -INFINITY;
    for (ptrdiff_t t = 0; t < d; t++)
        y[t] = (float)(x[t * FM_TILE_ROWS + r] * tile->inverse[r]);
    for (ptrdiff_t t = d; t < columns; t++)
        y[t] = 0;
    for (int i = 0; i < n; i++) {
        const float *center = p->floats + label[i] * columns;
        fm_short_floats acc[2] = {{0}};
        ptrdiff_t t = 0;
        for (; t + 32 <= columns; t += 32)
            for (int v = 0; v < 2; v++)
                acc[v] += *(const fm_short_floats *)(y + t + 16 * v) *
                          *(const fm_short_floats *)(center + t + 16 * v);
        if (t < columns)
            acc[0] += *(const fm_short_floats *)(y + t) * *(const fm_short_floats *)(center + t);
        score[i] = fm_short_sum(acc[0] + acc[1]) + p->float_bias[label[i]] * factor;
        top = score[i] > top ? score[i] : top;
    }
    int left = 0;
    for (int i = 0; i < n; i++) {
        label[left] = label[i];
        left += score[i] >= top - tile->fine[r];
    }
    return left;
}

/* Labels of one tile's rows from what is listed; returns how many pairs were of rows with more than
 * one. */
static ptrdiff_t FM_NAME(short_decide)(const real *x, ptrdiff_t rows, const fm_shortlist *p,
                                       const real *panel, const real *bias,
                                       FM_NAME(short_tile) * tile, float *y, int32_t *labels,
                                       ptrdiff_t *undecided)
{
    const fm_short_pairs pairs = tile->pairs;
    int32_t row[FM_SHORT_CHAINS], label[FM_SHORT_CHAINS], ends[FM_TILE_ROWS + 1] = {0};
    int32_t near[FM_SHORT_PAIRS];
    real best[FM_TILE_ROWS], score[FM_SHORT_CHAINS];
    int waiting = 0;
    ptrdiff_t close = 0;
    /* By row. */
    for (ptrdiff_t i = 0; i < pairs.n; i++)
        ends[pairs.row[i] + 1]++;
    for (ptrdiff_t r = 0; r < FM_TILE_ROWS; r++)
        ends[r + 1] += ends[r];
    for (ptrdiff_t i = 0; i < pairs.n; i++)
        near[ends[pairs.row[i]]++] = pairs.label[i];
    for (ptrdiff_t r = 0, begin = 0; r <= rows; r++) {
        int n = 0;
        int32_t *const listed = near + begin;
        if (r < rows) {
            n = ends[r] - (int32_t)begin;
            begin = ends[r];
            labels[r] = -1;
            best[r] = -(real)INFINITY;
            if (n == 0 || n > FM_SHORT_ROOM) {
                ++*undecided;
                continue;
            }
            if (n > 1) {
                close += n;
                n = FM_NAME(short_refine)(x, r, p, tile, listed, n, y);
            }
            if (n == 1) {
                labels[r] = listed[0];
                continue;
            }
        }
        /* The closest races, several at a time; after the last row what is left. */
        for (int i = 0; i < n || (r == rows && waiting);) {
            if (i < n) {
                row[waiting] = (int32_t)r;
                label[waiting++] = listed[i++];
            }
            if (waiting < FM_SHORT_CHAINS && r < rows)
                continue;
            FM_NAME(short_scores)(x, row, label, waiting, p->d, panel, bias, score);
            for (int c = 0; c < waiting; c++)
                if (score[c] > best[row[c]] ||
                    (score[c] == best[row[c]] && label[c] < labels[row[c]])) {
                    best[row[c]] = score[c];
                    labels[row[c]] = label[c];
                }
            waiting = 0;
        }
    }
    return close;
}

#include "shortlist_bounds.inc.h"

static ptrdiff_t FM_NAME(shortlist_assign)(const void *tiles, ptrdiff_t count,
                                           const fm_shortlist *p, const void *panel,
                                           const void *bias, const int32_t *hint, int32_t *labels,
                                           const fm_short_bounds *to, ptrdiff_t row,
                                           fm_memory memory, void *scratch, ptrdiff_t *undecided)
{
    const ptrdiff_t n_tiles = (count + FM_TILE_ROWS - 1) / FM_TILE_ROWS;
    const ptrdiff_t groups = (p->k + FM_PANEL_WIDTH - 1) / FM_PANEL_WIDTH;
    FM_NAME(short_tile) *tile = scratch;
    float *y = (float *)(tile + 1);
    uint32_t *codes = (uint32_t *)(y + FM_SHORT_FLOATS(p->d));
    fm_short_floats *greatest =
        to ? (fm_short_floats *)(codes + (p->d + 3) / 4 * FM_TILE_ROWS) : NULL;
    fetch next = start_fetch(memory, n_tiles * groups);
    ptrdiff_t close = 0;
    *undecided = 0;
    for (ptrdiff_t i = 0; i < n_tiles; i++) {
        const real *x = (const real *)tiles + i * p->d * FM_TILE_ROWS;
        const ptrdiff_t at = i * FM_TILE_ROWS, left = count - at;
        const ptrdiff_t rows = left < FM_TILE_ROWS ? left : FM_TILE_ROWS;
        FM_NAME(short_codes)(x, p, codes, tile);
        if (hint)
            FM_NAME(short_guess)(codes, p, hint + at, rows, tile);
        for (ptrdiff_t g = 0; to && g < (to->groups + 1) * FM_SHORT_VECTORS; g++)
            greatest[g] = (fm_short_floats){0} - INFINITY;
        if (!FM_NAME(short_scan)(codes, p, tile, &next, to ? to->group_of : NULL, greatest)) {
            *undecided += rows;
            continue;
        }
        close += FM_NAME(short_decide)(x, rows, p, panel, bias, tile, y, labels + at, undecided);
        if (to)
            FM_NAME(short_bounds)(tile, rows, p->d, to, row + at, labels + at, greatest);
    }
    return close;
}
#undef FM_SHORT_FMA
