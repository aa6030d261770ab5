/* SPDX-License-Identifier: BSD-3-Clause */
/* What rows that met a few centres only know then, of these and of all others: what does not depend
 * on the dtype.
 *
 * What is left of a margin over centres that a row did not meet is true of its new label as well, and
 * more by how much nearer that is than the old one.
 */

/* What sixteen rows know of a few centres that they met. */
typedef struct {
    /* The nearest; the label before; whether it is another; and whether that is sure. */
    fm_short_counts label, was, other;
    uint32_t sure;
    /* The distance at least; the margin over the other centres; and by how much the label before is
     * farther. */
    fm_short_floats near, margin, gain;
} met_rows;

/* Of their candidates, number [place][row], of which the label `was` is one. */
FM_INLINE met_rows met_few(const fm_margins *p, const int16_t *codes, ptrdiff_t stride,
                           const int32_t *number, ptrdiff_t places, fm_short_counts was,
                           margin_upcoming *upcoming)
{
    met_rows met = {.was = was};
    fm_short_floats first, second;
    fm_short_counts own;
    if (stride <= 32)
        candidate_scores(codes, 32, p, number, places, was, &first, &second, &met.label, &own,
                         upcoming);
    else if (stride <= 64)
        candidate_scores(codes, 64, p, number, places, was, &first, &second, &met.label, &own,
                         upcoming);
    else
        candidate_scores(codes, stride, p, number, places, was, &first, &second, &met.label, &own,
                         upcoming);
    const fm_short_floats sizes = candidate_sizes(codes, stride, p);
    const fm_short_floats error = sizes * p->size_error + p->error;
    const fm_short_floats square = margin_square(p, sizes, first, error, &met.near);
    const fm_short_counts lead = (fm_short_counts)first - (fm_short_counts)second;
    const fm_short_counts more = (fm_short_counts)first - own;
    const fm_short_floats clear =
        __builtin_convertvector(lead, fm_short_floats) * p->score_unit - 2 * error;
    const fm_short_floats gain =
        __builtin_convertvector(more, fm_short_floats) * p->score_unit - 2 * error;
    met.other = met.label != was;
    met.margin = margin_ahead(clear, square);
    met.gain = (fm_short_floats)(met.other & (fm_short_counts)margin_ahead(gain, square));
    met.sure = (uint32_t)fm_short_reach(clear, FLT_MIN - (fm_short_floats){0}) &
               (uint32_t)fm_short_reach((fm_short_floats)own, FLT_MIN - (fm_short_floats){0});
    return met;
}

/* What is left of a kept margin over centres that the rows did not meet: these are as far behind the
 * new label as behind the old one, and what that is. */
FM_INLINE fm_short_floats unmet_margin(const fm_margins *p, int which, const float *kept,
                                       met_rows met)
{
    const fm_short_floats own = fm_short_take(p->own_moved, (const int32_t *)&met.was);
    const fm_short_floats before = *(const fm_short_floats *)kept;
    const fm_short_floats now = margin_left(p, which, kept, own) + met.gain;
    return now - FM_MARGIN_ROUNDING * (own + p->all_moved[which] + fm_short_max(before, -before) +
                                       fm_short_max(now, -now));
}

/* Of movers, from the score of the label `was`, which may be one of them, and their greatest keys. */
FM_INLINE met_rows met_movers(const fm_margins *p, fm_short_counts was, fm_short_counts own,
                              fm_short_floats first, fm_short_floats second, fm_short_floats sizes)
{
    met_rows met = {.was = was};
    const fm_short_floats error = sizes * p->size_error + p->error;
    const fm_short_counts place = (fm_short_counts)first & p->numbers;
    const fm_short_counts mover =
        (fm_short_counts)fm_short_take((const float *)p->movers, (const int32_t *)&place);
    const fm_short_floats key = (fm_short_floats)(own & ~p->numbers);
    const fm_short_counts same = mover == was;
    const fm_short_floats best =
        (fm_short_floats)((same & (fm_short_counts)second) | (~same & (fm_short_counts)first));
    met.other = (fm_short_counts)best > (fm_short_counts)key;
    met.label = (met.other & mover) | (~met.other & was);
    const fm_short_floats top = fm_short_max(best, key);
    const fm_short_floats next = (fm_short_floats)((met.other & (fm_short_counts)second) |
                                                   (~met.other & (fm_short_counts)best));
    const fm_short_floats square = margin_square(p, sizes, top, error, &met.near);
    const fm_short_floats clear = margin_lead(p, top, next) * p->score_unit - 2 * error;
    const fm_short_floats gain = margin_lead(p, top, key) * p->score_unit - 2 * error;
    met.margin = margin_ahead(clear, square);
    met.gain = (fm_short_floats)(met.other & (fm_short_counts)margin_ahead(gain, square));
    const fm_short_floats least =
        (fm_short_floats)((met.other & (fm_short_counts)fm_short_min(clear, gain)) |
                          (~met.other & (fm_short_counts)clear));
    met.sure = (uint32_t)fm_short_reach(least, FLT_MIN - (fm_short_floats){0});
    return met;
}
