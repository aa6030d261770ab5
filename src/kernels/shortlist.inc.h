/* SPDX-License-Identifier: BSD-3-Clause */
/* Nearest centre by shortlists: scores from products of 8-bit codes leave few centres for a row, of
 * which only those of a close race are scored as assign.inc.h does, to the same bits.
 *
 * Rows are seen from a pivot p near to them, which few of them share, where that makes them shorter:
 * with y = x - p, and t_j = p . c_j - |c_j|^2 / 2, which all rows of a pivot have in common,
 *
 *     s_j  =  x . c_j - |c_j|^2 / 2  =  y . c_j + t_j.
 *
 * Codes are q = round(y / s) in units of a row, s = max_t |y_t| / 127, and z = round(c / u) in units
 * of sixteen centres,
 *
 *     s_j  =  s u (q . z) + t_j  +  s q . (c - u z) + (y - s q) . c.
 *
 * The first two terms are computed, the product exactly; the others are, by Cauchy-Schwarz, at most
 * M = s |q| max |c - u z| + |y - s q| max |c|, the maxima over the sixteen, and M is raised by what
 * rounding may add to either kind of score.  A centre whose first terms and M are below the greatest
 * of first terms less M has a lower score as assign.inc.h computes it: it cannot win or tie.
 * Sixteens are of centres of about one norm, so that the M of one is not that of another.
 *
 * What is left of a row, where that is more than one, meets products of floats and their rounding
 * error, and what is left then the chain of multiply-adds of assign.inc.h.
 *
 * Centres are in the lanes.  Four codes of a row are 32 bits, which one instruction multiplies with
 * four of a centre (AVX512-VNNI): four times as many products as multiply-adds of float32 in a
 * vector.
 */
typedef float FM_NAME(floats) __attribute__((vector_size(4 * FM_LANES), aligned(4), may_alias));

/* Chains of exact scores at a time: as many as hide the latency of a multiply-add. */
#define FM_SHORT_CHAINS 8

/* Close races that wait for their scores: rows of one call and labels. */
typedef struct {
    int waiting;
    int32_t row[FM_SHORT_CHAINS], label[FM_SHORT_CHAINS];
    int32_t owner;
    real best; /* the greatest score of row number `owner` so far, whose label has it */
} FM_NAME(short_races);

/* Scratch: rows as floats and codes, their scores, units and errors. */
static ptrdiff_t FM_NAME(shortlist_scratch)(const fm_shortlist *p, ptrdiff_t groups)
{
    const ptrdiff_t columns = FM_SHORT_FLOATS(p->d), vectors = FM_SHORT_FLOATS(p->vectors);
    return FM_SHORT_ROWS * (5 * columns + 64 * p->vectors + 8 * vectors) + 4 * vectors +
           (groups ? 4 * (2 * p->vectors + groups + 32) : 0);
}

/* Row r of the group is row x, from the pivot of a label, or of none. */
FM_INLINE void FM_NAME(short_take)(const fm_shortlist *p, const real *x, int32_t label,
                                   fm_short_rows *rows, int r)
{
    const ptrdiff_t d = p->d, pivot = p->pivot_of[label < 0 ? 0 : label + 1];
    const real *from = (const real *)p->pivot + pivot * d;
    const vec inverse = fm_broadcast((real)(1 / p->unit));
    vec most = fm_broadcast(0);
    float *y = rows->floats + r * FM_SHORT_FLOATS(d), lanes[FM_LANES];
    ptrdiff_t t = 0;
    for (; t + FM_LANES <= d; t += FM_LANES) {
        const vec value = (fm_load(x + t) - fm_load(from + t)) * inverse;
        most = fm_max(most, fm_max(value, -value));
        *(FM_NAME(floats) *)(y + t) = __builtin_convertvector(value, FM_NAME(floats));
    }
    if (t < d) {
        real last[FM_LANES] = {0}, shift[FM_LANES] = {0};
        memcpy(last, x + t, (size_t)(d - t) * sizeof(real));
        memcpy(shift, from + t, (size_t)(d - t) * sizeof(real));
        const vec value = (fm_load(last) - fm_load(shift)) * inverse;
        most = fm_max(most, fm_max(value, -value));
        *(FM_NAME(floats) *)(y + t) = __builtin_convertvector(value, FM_NAME(floats));
    }
    *(FM_NAME(floats) *)lanes = __builtin_convertvector(most, FM_NAME(floats));
    rows->largest[r] = short_greatest_of(lanes, FM_LANES);
    rows->pivot_scores[r] = p->pivot_scores + pivot * 16 * p->vectors;
    rows->pivot_norm[r] = p->pivot_norm[pivot];
}

/* Fused by name: GCC 12 puts the eight products into one vector, and forgets to fuse it with the sum.
 * All tables that have these kernels have the instruction. */
#ifdef FM_DOUBLE
#define FM_SHORT_FMA(a, b, c) __builtin_fma(a, b, c)
#else
#define FM_SHORT_FMA(a, b, c) __builtin_fmaf(a, b, c)
#endif

/* The scores that wait, as kernel assign computes them, decide about the labels of their rows. */
static void FM_NAME(short_settle)(const real *restrict x, ptrdiff_t d, const real *restrict panel,
                                  const real *restrict bias, FM_NAME(short_races) * races,
                                  int32_t *restrict labels)
{
    const real *from[FM_SHORT_CHAINS], *center[FM_SHORT_CHAINS];
    real acc[FM_SHORT_CHAINS];
    for (int i = 0; i < FM_SHORT_CHAINS; i++) {
        const int at = i < races->waiting ? i : 0;
        const ptrdiff_t j = races->label[at];
        from[i] = x + races->row[at] * d;
        center[i] = panel + j / FM_PANEL_WIDTH * d * FM_PANEL_WIDTH + j % FM_PANEL_WIDTH;
        acc[i] = bias[j];
    }
    for (ptrdiff_t t = 0; t < d; t++) {
        FM_UNROLL
        for (int i = 0; i < FM_SHORT_CHAINS; i++)
            acc[i] = FM_SHORT_FMA(from[i][t], center[i][t * FM_PANEL_WIDTH], acc[i]);
    }
    for (int i = 0; i < races->waiting; i++) {
        const int32_t r = races->row[i], j = races->label[i];
        if (r != races->owner || acc[i] > races->best || (acc[i] == races->best && j < labels[r])) {
            races->owner = r;
            races->best = acc[i];
            labels[r] = j;
        }
    }
    races->waiting = 0;
}
#undef FM_SHORT_FMA

#include "shortlist_bounds.inc.h"

static ptrdiff_t FM_NAME(shortlist_assign)(const void *framed, const void *squares, ptrdiff_t count,
                                           const fm_shortlist *p, const void *panel,
                                           const void *bias, const int32_t *hint, int32_t *labels,
                                           const fm_short_bounds *to, ptrdiff_t row, void *scratch,
                                           ptrdiff_t *undecided)
{
    const ptrdiff_t columns = FM_SHORT_FLOATS(p->d), vectors = FM_SHORT_FLOATS(p->vectors);
    const real *x = framed;
    FM_NAME(short_races) races = {.waiting = 0, .owner = -1};
    fm_short_rows rows;
    int32_t near[FM_SHORT_ROOM + 64 + 16];
    ptrdiff_t close = 0;
    rows.scores = scratch;
    rows.units = rows.scores + FM_SHORT_ROWS * 16 * p->vectors;
    rows.errors = rows.units + FM_SHORT_ROWS * vectors;
    rows.floats = rows.errors + FM_SHORT_ROWS * vectors;
    rows.codes = (uint8_t *)(rows.floats + FM_SHORT_ROWS * columns);
    float *const least = (float *)(rows.codes + FM_SHORT_ROWS * columns);
    float *const greatest = least + vectors;
    memset(rows.floats, 0, (size_t)(FM_SHORT_ROWS * columns) * sizeof(float));
    memset(rows.pivot_norm, 0, sizeof rows.pivot_norm);
    memset(rows.largest, 0, sizeof rows.largest);
    *undecided = 0;
    for (ptrdiff_t at = 0; at < count; at += FM_SHORT_ROWS) {
        const int some = count - at < FM_SHORT_ROWS ? (int)(count - at) : FM_SHORT_ROWS;
        /* What is beyond the last row is what was there before, and unused. */
        for (int r = 0; r < (at ? some : FM_SHORT_ROWS); r++) {
            const ptrdiff_t i = at + (r < some ? r : 0);
            FM_NAME(short_take)(p, x + i * p->d, hint ? hint[i] : -1, &rows, r);
        }
        short_codes(p, &rows);
        short_scores(p, &rows);
        for (int r = 0; r < some; r++) {
            ptrdiff_t n = short_near(p, &rows, r, least, near);
            labels[at + r] = -1;
            if (n == 0 || n > FM_SHORT_ROOM) {
                ++*undecided;
                continue;
            }
            if (n > 1) {
                close += n;
                n = short_refine(p, &rows, r, near, n);
            }
            if (n == 1) {
                labels[at + r] = p->label[near[0]];
                continue;
            }
            for (ptrdiff_t i = 0; i < n; i++) {
                if (races.waiting == FM_SHORT_CHAINS)
                    FM_NAME(short_settle)(x, p->d, panel, bias, &races, labels);
                races.row[races.waiting] = (int32_t)(at + r);
                races.label[races.waiting++] = p->label[near[i]];
            }
        }
        if (to)
            for (int r = 0; r < some; r++)
                FM_NAME(short_bounds)(p, &rows, r, ((const real *)squares)[at + r], to,
                                      row + at + r, greatest);
    }
    if (races.waiting)
        FM_NAME(short_settle)(x, p->d, panel, bias, &races, labels);
    if (to)
        for (ptrdiff_t i = 0; i < count; i++)
            FM_NAME(short_finish)(to, row + i, labels[i]);
    return close;
}
