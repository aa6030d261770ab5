/* SPDX-License-Identifier: BSD-3-Clause */
/* Labels that stay proven while centres move little: the bounds of Hamerly (2010), as one number for
 * each row, or two.  What of it does not depend on the dtype.
 *
 * The margin of a row is the least by which it is nearer to the centre of its label than to all
 * others, D_2 - D_1.  A centre that moves by m changes its distance by m at most: a label stays
 * proven until the moves of its own centre and the greatest of all have used up the margin, but for
 * what rounding may hide from kernel assign, which compares scores, s_j = x . c_j - |c_j|^2 / 2:
 *
 *     s_1 - s_2  =  (D_2^2 - D_1^2) / 2  =  (D_2 - D_1) (D_2 - D_1 + 2 D_1) / 2.
 *
 * With D_1 at most u, scores that differ by g or more are of distances that differ by
 * 2 g / (u + (u^2 + 2 g)^(1/2)) at least.
 *
 * When most centres have come to rest, a few still move far, and would use up the margins of all
 * rows.  These, the movers, have a margin of their own: a row whose margin over the others is not
 * used up need only meet its own centre and them.
 *
 * Rows whose margin is used up are scanned in whole numbers (margin_scan.inc.h), those that these
 * leave in doubt by kernel assign_leads.
 */
/* Movers are chosen anew where another centre moves farther than so many times what would be the
 * farthest of the others then. */
#define FM_MOVERS_RATIO 2.5
/* Covers the roundings of a few float operations, relative to the largest number that enters. */
#define FM_MARGIN_ROUNDING 0x1p-20f

/* Whether distances differ by so much, for sixteen rows at least as far from their centres as near,
 * that no rounding hides it: in the bits of the result. */
FM_INLINE uint32_t margin_proves(const fm_margins *p, fm_short_floats left, fm_short_floats near)
{
    const fm_short_floats zero = {0};
    left = fm_short_max(left, zero); /* and of what is no number */
    const fm_short_floats gap = left * (left + 2 * fm_short_max(near, zero));
    return (uint32_t)fm_short_reach(gap, p->hidden - zero);
}

/* What is left of margins of sixteen rows over the others (which: 0) or movers (1), from what is
 * kept, and what moves of their own centres take off. */
FM_INLINE fm_short_floats margin_left(const fm_margins *p, int which, const float *kept,
                                      fm_short_floats own)
{
    return *(const fm_short_floats *)kept - (own + p->all_moved[which]);
}

/* Flags of sixteen rows, bit r of 16. */
typedef struct {
    uint32_t only, few, rest;
} margin_flags;

FM_INLINE margin_flags margin_open(const fm_margins *p, const int32_t *label, const float *near,
                                   const float *margin, const float *mover_margin,
                                   const float *beyond)
{
    const fm_short_floats own = fm_short_take(p->own_moved, label);
    const fm_short_floats close = *(const fm_short_floats *)near - own;
    const uint32_t others = margin_proves(p, margin_left(p, 0, margin, own), close);
    uint32_t movers = 0xffff, few = 0;
    if (p->n_movers)
        movers = margin_proves(p, margin_left(p, 1, mover_margin, own), close);
    if (p->places && others != 0xffff)
        few = ~others & margin_proves(p, margin_left(p, 0, beyond, own), close);
    return (margin_flags){others & ~movers, few, 0xffff & ~others & ~few};
}

FM_INLINE void margin_list(fm_open_rows *open, margin_flags flags, uint32_t all, ptrdiff_t at)
{
    if (flags.only)
        open->n_only += fm_list_flags(flags.only & all, (int32_t)at, open->only + open->n_only);
    if (flags.few)
        open->n_few += fm_list_flags(flags.few & all, (int32_t)at, open->few + open->n_few);
    open->n_list += fm_list_flags(flags.rest & all, (int32_t)at, open->list + open->n_list);
}

/* Margins of sixteen rows for other movers than before: the least of both is true of both. */
FM_INLINE void margin_merge(const fm_margins *p, const int32_t *label, float *margin,
                            float *mover_margin, float *beyond)
{
    const fm_short_floats zero = {0}, own = fm_short_take(p->own_moved, label);
    const fm_short_floats others = *(const fm_short_floats *)margin;
    const fm_short_floats movers = *(const fm_short_floats *)mover_margin;
    fm_short_floats size = own + (p->before[0] + p->before[1]) + fm_short_max(others, -others);
    fm_short_floats least = others - p->before[0], further = zero + FLT_MAX;
    if (p->had_movers) {
        size += fm_short_max(movers, -movers);
        further = movers - p->before[1];
        least = fm_short_min(least, further);
    }
    const fm_short_floats rounding = 2 * FM_MARGIN_ROUNDING * size;
    *(fm_short_floats *)margin = least + p->before[0] - rounding;
    *(fm_short_floats *)mover_margin = least + p->before[1] - rounding;
    if (beyond) {
        const fm_short_floats kept = *(const fm_short_floats *)beyond;
        *(fm_short_floats *)beyond =
            fm_short_min(kept - p->before[0], further) + p->before[0] -
            (rounding + 2 * FM_MARGIN_ROUNDING * fm_short_max(kept, -kept));
    }
}

static void margins_open(const fm_margins *p, const int32_t *labels, ptrdiff_t start,
                         ptrdiff_t count, fm_open_rows *open)
{
    const ptrdiff_t whole = count / 16 * 16, left = count - whole;
    float *const beyond = p->places ? p->beyond + start : NULL;
    open->n_only = open->n_few = open->n_list = 0;
    for (ptrdiff_t at = 0; at < whole; at += 16) {
        const ptrdiff_t x = start + at;
        float *const more = beyond ? beyond + at : NULL;
        if (p->merges)
            margin_merge(p, labels + x, p->margins + x, p->mover_margins + x, more);
        margin_list(
            open,
            margin_open(p, labels + x, p->nears + x, p->margins + x, p->mover_margins + x, more),
            0xffff, at);
    }
    if (left) {
        const ptrdiff_t x = start + whole;
        const size_t size = (size_t)left * sizeof(float);
        int32_t label[16] = {0};
        float near[16] = {0}, margin[16] = {0}, mover_margin[16] = {0}, more[16] = {0};
        memcpy(label, labels + x, size);
        memcpy(near, p->nears + x, size);
        memcpy(margin, p->margins + x, size);
        memcpy(mover_margin, p->mover_margins + x, size);
        if (beyond)
            memcpy(more, beyond + whole, size);
        if (p->merges) {
            margin_merge(p, label, margin, mover_margin, beyond ? more : NULL);
            memcpy(p->margins + x, margin, size);
            memcpy(p->mover_margins + x, mover_margin, size);
            if (beyond)
                memcpy(beyond + whole, more, size);
        }
        margin_list(open, margin_open(p, label, near, margin, mover_margin, more), (1u << left) - 1,
                    whole);
    }
}

/* Movers, and how far the others and these have moved, from the steps of all centres. */
static void margins_group(fm_margins *p)
{
    const ptrdiff_t most = p->most_movers;
    double farthest[FM_MOVER_PLACES + 1] = {0}, moved[2] = {0}, others = 0;
    int32_t who[FM_MOVER_PLACES + 1] = {0};
    for (ptrdiff_t j = 0; j < p->k; j++) {
        const double step = p->steps[j];
        if (!p->moving[j])
            others = step > others ? step : others;
        if (!(step > farthest[most]))
            continue;
        ptrdiff_t at = most;
        for (; at > 0 && step > farthest[at - 1]; at--)
            farthest[at] = farthest[at - 1], who[at] = who[at - 1];
        farthest[at] = step, who[at] = (int32_t)j;
    }
    p->had_movers = p->n_movers > 0;
    p->merges = most > 0 && others > FM_MOVERS_RATIO * farthest[most];
    if (p->merges) {
        memset(p->moving, 0, (size_t)p->k);
        p->n_movers = 0;
        for (ptrdiff_t i = 0; i < FM_MOVER_PLACES; i++) {
            const int moves = i < most && farthest[i] > 0;
            p->movers[i] = moves ? who[i] : (int32_t)p->k;
            p->n_movers += moves;
            if (moves)
                p->moving[who[i]] = 1;
        }
    }
    for (ptrdiff_t j = 0; j < p->k; j++) {
        double *const farther = &moved[p->moving[j]];
        *farther = p->steps[j] > *farther ? p->steps[j] : *farther;
    }
    for (int i = 0; i < 2; i++) {
        p->before[i] = p->all_moved[i];
        p->sums_moved[i] = (p->sums_moved[i] + moved[i]) * (1 + 0x1p-40);
        p->all_moved[i] = (float)p->sums_moved[i] * (1 + FM_MARGIN_ROUNDING);
    }
}

/* What a distance or margin of so much now is kept as: what moves so far take off is added. */
FM_INLINE fm_short_floats margin_kept(fm_short_floats spent, fm_short_floats now)
{
    return now + spent - FM_MARGIN_ROUNDING * (spent + fm_short_max(now, -now));
}

/* The least difference of distances, the smaller of which has a square of at most `square`, of
 * scores that differ by so much. */
FM_INLINE fm_short_floats margin_ahead(fm_short_floats gap, fm_short_floats square)
{
    const fm_short_floats zero = {0};
    gap = fm_short_max(gap, zero);
    const fm_short_floats ahead =
        2 * gap / (fm_short_root(square) + fm_short_root(square + 2 * gap));
    return fm_short_max(ahead * (1 - FM_MARGIN_ROUNDING), zero); /* 0 of what is no number */
}

/* Margins of rows from what kernel assign_leads found; those kept so far are the greatest squares of
 * their distances, and of their least distances no moves are kept. */
static void margins_settle(const fm_margins *p, const ptrdiff_t *rows, ptrdiff_t count,
                           const int32_t *labels, const float *leads)
{
    for (ptrdiff_t at = 0; at < count; at += 16) {
        const ptrdiff_t some = count - at < 16 ? count - at : 16;
        float near[16] = {0}, square[16] = {0}, lead[16] = {0};
        int32_t label[16] = {0};
        for (ptrdiff_t i = 0; i < some; i++) {
            near[i] = p->nears[rows[at + i]];
            square[i] = p->margins[rows[at + i]];
            lead[i] = leads[at + i] < FLT_MAX ? leads[at + i] : FLT_MAX / 4;
            label[i] = labels[at + i];
        }
        const fm_short_floats gap =
            *(const fm_short_floats *)lead * (1 - FM_MARGIN_ROUNDING) - p->hidden;
        const fm_short_floats ahead =
            margin_ahead(gap, *(const fm_short_floats *)square + 2 * p->hidden);
        const fm_short_floats own = fm_short_take(p->own_moved, label);
        const fm_short_floats margin = margin_kept(own + p->all_moved[0], ahead);
        const fm_short_floats mover_margin = margin_kept(own + p->all_moved[1], ahead);
        const fm_short_floats close = margin_kept(own, *(const fm_short_floats *)near);
        for (ptrdiff_t i = 0; i < some; i++) {
            p->margins[rows[at + i]] = margin[i];
            p->mover_margins[rows[at + i]] = mover_margin[i];
            p->nears[rows[at + i]] = close[i];
            if (p->places) /* the label may be none of its candidates */
                p->beyond[rows[at + i]] = -FLT_MAX;
        }
    }
}
