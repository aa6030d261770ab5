/* SPDX-License-Identifier: BSD-3-Clause */
/* What shortlist.inc.h leaves for the bounds of bounds.inc.h, which begin with its labels. */

/* Bounds of row r of the group, row number `row` of the fit, from what its scores are at most.  A
 * distance is U, the unit, times what it is here, and with x = y + p
 *
 *     |x - c|^2  =  |x|^2 - 2 score,
 *
 * and the score of the label is at least the best less what rounding may add. */
static void FM_NAME(short_bounds)(const fm_shortlist *p, const fm_short_rows *rows, int r,
                                  real norm_square, const fm_short_bounds *to, ptrdiff_t row,
                                  float *greatest)
{
    const fm_bounds *const b = to->bounds;
    const float *const score = rows->scores + r * 16 * p->vectors;
    const float *const error = rows->errors + r * FM_SHORT_FLOATS(p->vectors);
    const float inverse = 1 / b->step, tiny = FM_BOUND_ROUNDING;
    /* A sum of d squares of what is rounded twice. */
    const float rounding = (float)(p->d + 8) * 0x1p-23f + tiny;
    const float square = (float)((double)norm_square / (p->unit * p->unit));
    const float least = (float)p->unit * (1 - tiny), most = (float)p->unit * (1 + tiny);
    int16_t *const codes = b->codes + row * b->stride;
    float *const group = greatest + 2 * p->vectors;
    for (ptrdiff_t v = 0; v < p->vectors; v++)
        short_greatest_halves(*(const fm_short_floats *)(score + 16 * v) + error[v],
                              greatest + 2 * v);
    for (ptrdiff_t g = 0; g < to->groups; g++) {
        float of = greatest[to->first[g] / 8];
        for (ptrdiff_t i = to->first[g] / 8 + 1; i < to->first[g + 1] / 8; i++)
            of = greatest[i] > of ? greatest[i] : of;
        group[g] = of;
    }
    for (ptrdiff_t g = 0; g < to->groups; g++) {
        const float product = 2 * group[g], size = product < 0 ? -product : product;
        const float gap = square - product - rounding * square - tiny * size;
        codes[g] = code_of(__builtin_sqrtf(gap > 0 ? gap : 0) * least, 0, inverse);
    }
    const float product = 2 * (rows->best[r] - rows->base[r]);
    const float size = product < 0 ? -product : product;
    const float gap = square - product + rounding * square + tiny * size;
    const float upper = __builtin_sqrtf(gap > 0 ? gap : 0) * most * (1 + 8 * tiny) + FLT_MIN;
    /* Of rows out of range, whose best is no number, nothing is known. */
    b->upper[row] = rows->best[r] < INFINITY && upper < FM_UPPER_NONE ? upper : FM_UPPER_NONE;
}

/* The same row once it has its label, or none. */
FM_INLINE void FM_NAME(short_finish)(const fm_short_bounds *to, ptrdiff_t row, int32_t label)
{
    const fm_bounds *const b = to->bounds;
    int16_t *const codes = b->codes + row * b->stride;
    if (label >= 0 && b->upper[row] < FM_UPPER_NONE) {
        codes[b->group_of[label]] = 0;
        return;
    }
    b->upper[row] = FM_UPPER_NONE;
    memset(codes, 0, (size_t)to->groups * sizeof *codes);
}
